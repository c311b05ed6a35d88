# What a configure script does, in small: writes files, compiles some, runs sed, grep and expr.
set -e
rm -rf conf.d
mkdir conf.d
cd conf.d

for header in stdio.h stdlib.h string.h unistd.h errno.h math.h signal.h time.h; do
	cat > conftest.c <<END
#include <$header>
int main(void) { return 0; }
END
	if gcc -c conftest.c -o conftest.o 2> conftest.err; then answer=yes; else answer=no; fi
	name=$(echo "HAVE_$header" | sed 's/[^a-zA-Z0-9]/_/g' | tr a-z A-Z)
	echo "#define $name $answer" >> confdefs.h
	rm -f conftest.c conftest.o conftest.err
done

number=0
while [ $number -lt 80 ]; do
	number=$(expr $number + 1)
	echo "feature $number: @VALUE@" > conftest.in
	sed "s/@VALUE@/value-$number/" conftest.in > conftest.out
	if grep -q "value-$number" conftest.out; then
		cat conftest.out >> config.log
	fi
	mv conftest.out conftest.old
	rm -f conftest.in conftest.old
done
test -s config.log
