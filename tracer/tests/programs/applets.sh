# Runs everyday tools in an empty directory and prints what they say; nothing in it depends on
# time, process ids, or who runs it.
check() {
	echo "--- $*"
	"$@" 2>&1
	echo "= $?"
}
umask 022
printf 'one\ntwo\nthree\n' >text
check cat text missing
check cp text copy
check cmp text copy
check cp -p text kept
check mv copy moved
check mv missing elsewhere
check ln text hard
check ln -s text soft
check ln -sf moved soft
check readlink soft
check readlink -f ./../"${PWD##*/}"/soft/../moved
check stat -c '%a %h %s %F %N' text soft
check chmod 640 text
check chmod u+s,g-r text
check stat -c %a text
check chown 0:0 text
check touch -d '2020-01-02 03:04:05' text
check stat -c %Y text
check mkdir -p a/b/c
check mkdir a
check rmdir a
check rmdir a/b/c
check rm a
check rm -r a
check rm -f missing
check unlink hard
check unlink hard
check truncate -s 100 moved
check dd if=/dev/zero of=zeros bs=1024 count=8 status=none
check wc -c zeros moved
check split -b 3000 zeros part.
check ls
check tail -n 1 text
check head -c 5 text
check sort -r text
check uniq text
check cut -c 2-3 text
check tr a-z A-Z <text
check tee again <text
check tac text
check od -c text
check sha256sum text kept
check md5sum text
check base64 text
check sed s/o/0/g text
check grep -n t text
check grep -r two .
check find . -type f -name 't*'
check find . -name 'part.*' -exec rm {} +
check find . -name again -delete
check xargs -n 1 echo <text
check tar cf archive.tar text kept soft
check tar tf archive.tar
check mkdir out
check tar xf archive.tar -C out
check diff -r text out/text
check gzip -n text
check gunzip text.gz
check expr 6 '*' 7
check test -u text
check test -L soft
check env -i A=b env
check sh -c 'exit 3'
check sh -c 'kill -USR1 $$'
check sh -c 'trap "echo got" TERM; kill -TERM $$; echo on'
check sh -c 'sleep 0.05 & wait $!; echo waited'
check sh -c '(exit 4) | cat; echo $?'
check sh -c 'exec 3<text; read line <&3; echo $line; cat <&3'
check sh -c 'cd out && pwd -P | tail -c 4; cat ../text'
check sh -c 'ulimit -f 1; dd if=/dev/zero of=big bs=1024 count=100 2>/dev/null'
check timeout 0.1 sleep 5
check timeout -s KILL 0.1 sleep 5
check nohup true
check nice -n 5 nice
check seq 3
check yes hello | head -n 2
check mkfifo pipe
check sh -c 'cat pipe & echo through >pipe; wait'
check mktemp -u -p . fixed.XXXXXX >/dev/null
check sync
check sleep 0
check false
check id -u
check uname -s
check no-such-program
check ./text
check date -u -d @0 +%F
check printf '%s-%d\n' a 7
check dirname /a/b
check basename /a/b.c .c
check pwd -L >/dev/null
