# The library as two files, kd.c and kd.h, for who wants to have it in a program's own sources.
.PHONY: amalgamation check-amalgamation
amalgamation: $(if $(wildcard /usr/include/jsmn.h),,build/include/jsmn.h) ## build/amalgamation/kd.c and kd.h: all of the library, compiled by one command
	@$(PYTHON) lib/amalgamation.py build/amalgamation $(version) && echo build/amalgamation/kd.c
check-amalgamation: $(obj)/libkd.a ## compile these two, and compare what programs compute with them, bit by bit
	@CC='$(CC)' CXX='$(CXX)' PYTHON='$(PYTHON)' sh tests/consumer/amalgamation.sh $(version) $(obj)/libkd.a $(omp) $(libs)
