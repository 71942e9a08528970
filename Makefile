# libkd: make help lists the targets; make deps installs what the build needs.
# Options: BLAS=openblas|builtin OPENMP=1|0 ZLIB=1|0 CC= SANITIZE=address,undefined|thread DEBUG=1 V=1
# Objects of different options live in different folders and never mix.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

CC := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
AR := ar
OBJCOPY := objcopy
PYTHON ?= python3
PREFIX ?= /usr/local
version := 0.1.0
soname := libkd.so.0

# ---- options ---------------------------------------------------------------------------------
machine := $(shell $(CC) -dumpmachine 2>/dev/null)
is_clang := $(shell $(CC) --version 2>/dev/null | grep -c clang)
has = $(shell printf '\#include <$(1)>\n' | $(CC) -E -xc - >/dev/null 2>&1 && echo 1 || echo 0)
OPENMP ?= 1
ZLIB ?= $(call has,zlib.h)
BLAS ?= builtin
DEBUG ?= 0
SANITIZE ?=

isas := $(if $(findstring x86_64,$(machine)),generic avx2 avx512,$(if $(findstring aarch64,$(machine)),generic neon,generic))
isaflags_generic :=
isaflags_avx2 := -mavx2 -mfma -mf16c
isaflags_avx512 := -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mprefer-vector-width=512
isaflags_neon :=

comma := ,
empty :=
space := $(empty) $(empty)
cfg := $(subst $(space),_,$(notdir $(CC))-$(firstword $(subst -, ,$(machine)))-$(BLAS)-omp$(OPENMP)-z$(ZLIB)$(if $(SANITIZE),-$(subst $(comma),+,$(SANITIZE)))$(if $(filter 1,$(DEBUG)),-debug))
obj := build/obj/$(cfg)

std := -std=c11 -D_GNU_SOURCE
warn := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wundef -Wvla $(if $(WERROR),-Werror)
opt := $(if $(filter 1,$(DEBUG)),-O1 -g -DKDI_DEBUG=1,-O2 -g)
kernelopt := $(if $(filter 1,$(DEBUG)),-O1 -g,-O3 -g) -ffp-contract=fast -fno-math-errno -fno-trapping-math
san := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer)
omp := $(if $(filter 1,$(OPENMP)),-fopenmp)
info := blas=$(BLAS) openmp=$(OPENMP) zlib=$(ZLIB) isa=$(subst $(space),$(comma),$(isas))
defs := -DKDI_ZLIB=$(ZLIB) -DKDI_OPENBLAS=$(if $(filter openblas,$(BLAS)),1,0)
CFLAGS ?=
cflags = $(std) $(warn) $(opt) $(san) -Iinclude $(defs) $(CFLAGS)
libs := $(if $(filter openblas,$(BLAS)),-lopenblas) $(if $(filter 1,$(ZLIB)),-lz) -lm -lpthread
Q := $(if $(filter 1,$(V)),,@)

# ---- sources ---------------------------------------------------------------------------------
isa_src := $(wildcard lib/kernel/isa/*.c)
lib_src := $(filter-out lib/edge/%,$(wildcard lib/*/*.c))
lib_obj := $(lib_src:%.c=$(obj)/%.o) $(foreach i,$(isas),$(isa_src:%.c=$(obj)/%.$(i).o))
kd_src := $(wildcard examples/kd/*.c)
embed_src := $(wildcard examples/embed/*.c)
test_src := $(wildcard tests/*.c tests/*/*.c)
test_src := $(filter-out tests/golden/% tests/fuzz/% tests/consumer/%,$(test_src))
bench_src := $(wildcard bench/*.c)

.PHONY: all deps demo check check-full bench bench-peers fuzz docs format lint install uninstall dist clean help FORCE
all: build/lib/libkd.a build/lib/libkd.so build/bin/kd $(embed_src:examples/embed/%.c=build/bin/%) ## the library, the command line, the examples

# What the compiler cannot do without is named before it fails.
need_jsmn := $(if $(filter 1,$(call has,jsmn.h)),,missing)
$(lib_obj): | $(if $(need_jsmn),say_deps)
say_deps:
	@echo "libkd: jsmn.h is missing (Debian: libjsmn-dev). 'make deps' installs what the build needs." >&2; exit 1

$(obj)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) $(omp) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

define isa_rule
$(obj)/lib/kernel/isa/%.$(1).o: lib/kernel/isa/%.c
	@mkdir -p $$(@D)
	$(Q)$(CC) $$(cflags) $$(kernelopt) $$(isaflags_$(1)) -DKDI_ISA=$(1) -fPIC -fvisibility=hidden -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(isas),$(eval $(call isa_rule,$(i))))
$(obj)/lib/base/ctx.o: defs += '-DKDI_BUILD_INFO="$(info)"'

# One relocatable object whose hidden symbols are local: nothing but kd_* leaves the archive.
$(obj)/libkd.a: $(lib_obj)
	$(Q)$(CC) -r -nostdlib -o $(obj)/libkd.o $(lib_obj)
	$(Q)$(OBJCOPY) --localize-hidden $(obj)/libkd.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(obj)/libkd.o
$(obj)/libkd_internal.a: $(lib_obj) # the tests also look inside
	$(Q)rm -f $@ && $(AR) rcs $@ $(lib_obj)
$(obj)/libkd.so: $(lib_obj) lib/libkd.map
	$(Q)$(CC) -shared $(san) $(omp) -Wl,-soname,$(soname) -Wl,--version-script=lib/libkd.map -o $@ $(lib_obj) $(libs)

# The products of the last options built; the stamp changes with them.
build/.cfg: FORCE
	@mkdir -p build; [ "$$(cat $@ 2>/dev/null)" = "$(cfg)" ] || echo "$(cfg)" >$@
build/lib/%: $(obj)/% build/.cfg
	@mkdir -p $(@D); cp $< $@; [ "$*" != libkd.so ] || ln -sf libkd.so build/lib/$(soname)
build/bin/%: $(obj)/bin/% build/.cfg
	@mkdir -p $(@D); cp $< $@

$(obj)/bin/kd: $(kd_src:%.c=$(obj)/%.o) $(obj)/libkd.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(san) $(omp) -o $@ $^ $(libs)
$(obj)/bin/%: $(obj)/examples/embed/%.o $(obj)/libkd.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(san) $(omp) -o $@ $^ $(libs)
$(obj)/bin/bench: $(bench_src:%.c=$(obj)/%.o) $(obj)/libkd_internal.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(san) $(omp) -o $@ $^ $(libs)
check_libs = $(shell pkg-config --libs check 2>/dev/null || echo -lcheck -lsubunit -lrt)
$(obj)/bin/tests: $(test_src:%.c=$(obj)/%.o) $(obj)/libkd_internal.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(san) $(omp) -o $@ $^ $(check_libs) $(libs)

-include $(shell [ ! -d $(obj) ] || find $(obj) -name '*.d')

# ---- tasks -----------------------------------------------------------------------------------
deps: ## install what is missing with the system's package manager
	@sh .ci/deps.sh

check: deps ## all tests a change must pass
	@$(MAKE) --no-print-directory all run-tests
.PHONY: run-tests
run-tests: $(obj)/bin/tests $(obj)/bin/kd
	@KD_BIN=$(obj)/bin/kd $(obj)/bin/tests

clean: ## remove build/
	rm -rf build
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16
