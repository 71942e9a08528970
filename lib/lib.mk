# The library: libkd.a, libkd.so, and libkd_internal.a for tests, which also look inside.

version := 0.1.0
soname := libkd.so.0

lib_src := $(wildcard lib/*/*.c)
lib_obj := $(lib_src:%.c=$(obj)/%.o) $(kernel_obj)

# What the compiler cannot do without is named before it fails.
need_jsmn := $(if $(filter 1,$(call has,jsmn.h)),,missing)
$(lib_obj): | $(if $(need_jsmn),say_deps)
say_deps:
	@echo "libkd: jsmn.h is missing (Debian: libjsmn-dev). 'make deps' installs what the build needs." >&2; exit 1

# Objects of the library, of programs and of tests alike.
$(obj)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(compile) $(omp) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<
-include $(shell [ ! -d $(obj) ] || find $(obj) -name '*.d')

# The optimisers are loops over arrays.
$(obj)/lib/train/adamw.o $(obj)/lib/train/sgd.o: opt := $(kernelopt)

# What kd_build_info says.
threads := $(if $(filter 1,$(OPENMP)),openmp,$(if $(filter 0,$(THREADS)),none,own))
info := blas=$(BLAS) threads=$(threads) zlib=$(ZLIB) jpeg=$(JPEG) png=$(PNG) \
    isa=$(subst $(space),$(comma),$(isas) $(if $(amx),amx))
read_commit = h=$$(git rev-parse --short HEAD 2>/dev/null) && { git diff --quiet HEAD || h=$$h-dirty; echo $$h; }
commit := $(if $(wildcard .git),$(shell $(read_commit)))
$(obj)/lib/base/ctx.o: defs += '-DKDI_BUILD_INFO="$(info) commit=$(or $(commit),unknown)"'
$(obj)/lib/base/ctx.o: build/.commit
build/.commit: FORCE
	@mkdir -p build; [ "$$(cat $@ 2>/dev/null)" = "$(commit)" ] || echo "$(commit)" >$@

# One relocatable object whose hidden symbols are local: nothing but kd_* leaves the archive.
$(obj)/libkd.a: $(lib_obj)
	$(Q)$(CC) -r -nostdlib -o $(obj)/libkd.o $(lib_obj)
	$(Q)$(OBJCOPY) --localize-hidden $(obj)/libkd.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(obj)/libkd.o
$(obj)/libkd_internal.a: $(lib_obj)
	$(Q)rm -f $@ && $(AR) rcs $@ $(lib_obj)
so_flags := -Wl,-soname,$(soname) -Wl,-Bsymbolic-functions -Wl,--version-script=lib/libkd.map
$(obj)/libkd.so: $(lib_obj) lib/libkd.map
	$(Q)$(CC) -shared $(san) $(omp) $(so_flags) -o $@ $(lib_obj) $(libs)

# The products of the last options built; the stamp changes with them.
build/.cfg: FORCE
	@mkdir -p build; [ "$$(cat $@ 2>/dev/null)" = "$(cfg)" ] || echo "$(cfg)" >$@
build/lib/%: $(obj)/% build/.cfg
	@mkdir -p $(@D); cp $< $@; [ "$*" != libkd.so ] || ln -sf libkd.so build/lib/$(soname)
build/bin/%: $(obj)/bin/% build/.cfg
	@mkdir -p $(@D); cp $< $@
