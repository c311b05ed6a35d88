# Twelve units and what they link to.
units := $(patsubst %.c,%.o,$(wildcard unit*.c))

libunits.a: $(units)
	ar rc $@ $^

%.o: %.c
	gcc -O0 -c -o $@ $<

clean:
	rm -f *.o *.a
.PHONY: clean
