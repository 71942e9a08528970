# The library: libkd.a, libkd.so, and libkd_internal.a for tests, which also look inside.

version := 0.1.0

# ONNX's messages are made from lib/onnx/onnx.proto by protobuf-c; without it the public calls alone are there.
onnx_src := $(wildcard lib/onnx/*.c)
without := $(if $(filter 1,$(ONNX)),,$(filter-out lib/onnx/onnx.c,$(onnx_src)))
lib_src := $(filter-out $(without),$(wildcard lib/*/*.c))
lib_obj := $(lib_src:%.c=$(obj)/%.o) $(if $(filter 1,$(ONNX)),$(obj)/lib/onnx/onnx.pb-c.o) $(kernel_obj)

# jsmn is one header, which needs no other: a compiler that does not look into /usr/include (musl-gcc) is shown
# it. Where it is nowhere, that is said before anything fails.
ifneq ($(call has,jsmn.h),1)
$(obj)/lib/file/json.o: own := -isystem build/include
$(lib_obj): | $(if $(wildcard /usr/include/jsmn.h),build/include/jsmn.h,say_deps)
say_deps:
	@echo "libkd: jsmn.h is missing (Debian: libjsmn-dev). 'make deps' installs what the build needs." >&2; exit 1
endif

build/include/%.h: /usr/include/%.h
	@mkdir -p $(@D) && cp $< $@

# One call makes both files.
build/onnx/onnx.pb-c.h: lib/onnx/onnx.proto
	@mkdir -p $(@D)
	$(Q)$(PROTOC_C) -I$(<D) --c_out=$(@D) $<
build/onnx/onnx.pb-c.c: build/onnx/onnx.pb-c.h ;
$(obj)/lib/onnx/onnx.pb-c.o: build/onnx/onnx.pb-c.c
	$(compile_object)
onnx_users := $(onnx_src:%.c=$(obj)/%.o) $(patsubst %.c,$(obj)/%.o,$(wildcard tests/onnx/*.c))
$(onnx_users): own := -Ibuild/onnx
ifeq ($(ONNX),1)
$(onnx_users): | build/onnx/onnx.pb-c.h
endif

# Objects of the library, of programs and of tests alike.
define compile_object
@mkdir -p $(@D)
$(Q)$(compile) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<
endef
$(obj)/%.o: %.c
	$(compile_object)
-include $(shell [ ! -d $(obj) ] || find $(obj) -name '*.d')

# The optimisers are loops over arrays.
$(obj)/lib/train/adamw.o $(obj)/lib/train/sgd.o: own := $(kernelopt)

# What kd_build_info says.
threads := $(if $(filter 1,$(OPENMP)),openmp,$(if $(filter 0,$(THREADS)),none,own))
info := blas=$(BLAS) threads=$(threads) zlib=$(ZLIB) jpeg=$(JPEG) png=$(PNG) onnx=$(ONNX) \
    isa=$(call joined,$(comma),$(tables))
read_commit = h=$$(git rev-parse --short HEAD 2>/dev/null) && { git diff --quiet HEAD || h=$$h-dirty; echo $$h; }
commit := $(if $(wildcard .git),$(shell $(read_commit)))
$(obj)/lib/base/ctx.o: defs += '-DKDI_BUILD_INFO="$(info) commit=$(or $(commit),unknown)"'
$(obj)/lib/base/ctx.o: build/.commit
build/.commit: FORCE
	@mkdir -p build; [ "$$(cat $@ 2>/dev/null)" = "$(commit)" ] || echo "$(commit)" >$@

# All objects as one, after which its hidden names can be made local: nothing but kd_* leaves the archive.
# Apple's linker makes them local by itself. Where there is no such objcopy they stay to be seen. With -flto it
# is here that the library is compiled.
lto_whole := $(if $(lto),$(CFLAGS) $(lto) $(if $(clang),-fuse-ld=lld,-flinker-output=nolto-rel))
$(obj)/whole.o: $(lib_obj)
	$(Q)$(CC) -r -nostdlib $(lto_whole) $(if $(darwin),-Wl$(comma)-keep_private_externs) -o $@ $(lib_obj)
$(obj)/libkd.o: $(obj)/whole.o
ifdef darwin
	$(Q)$(CC) -r -nostdlib -o $@ $<
else
	$(Q)if $(OBJCOPY) --help 2>/dev/null | grep -q localize-hidden; then $(OBJCOPY) --localize-hidden $< $@; \
	else echo "libkd.a: $(OBJCOPY) hides no names, so that kdi_* can be seen" >&2; cp $< $@; fi
endif
$(obj)/libkd.a: $(obj)/libkd.o
	$(Q)rm -f $@ && $(AR) rcs $@ $<
$(obj)/libkd_internal.a: $(lib_obj)
	$(Q)rm -f $@ && $(AR) rcs $@ $(lib_obj)

so := $(if $(darwin),libkd.dylib,libkd.so)
soname := $(if $(darwin),libkd.0.dylib,libkd.so.0)
so_flags_elf := -Wl,-soname,$(soname) -Wl,-Bsymbolic -Wl,--version-script=lib/libkd.map
so_flags_darwin := -install_name @rpath/$(soname) -Wl,-exported_symbol,_kd_*
so_flags := $(if $(darwin),$(so_flags_darwin),$(so_flags_elf))
$(obj)/$(so): $(obj)/whole.o lib/libkd.map
	$(Q)$(link) -shared $(so_flags) -o $@ $< $(LDLIBS) $(libs)

# The products of the last options built; build/last.mk has those, and changes with them.
escaped = $(subst $(hash),\$(hash),$(subst $$,$$$$,$(1)))
build/last.mk: export last_options := $(foreach o,$(options),$(o) := $(call escaped,$($(o)))$(newline))$(hash)
build/last.mk: FORCE
	@mkdir -p build; [ "$$(cat $@ 2>/dev/null)" = "$$last_options" ] || printf '%s\n' "$$last_options" >$@
build/lib/%: $(obj)/% build/last.mk
	@mkdir -p $(@D); cp $< $@; [ "$*" != $(so) ] || ln -sf $(so) build/lib/$(soname)
build/bin/%: $(obj)/bin/% build/last.mk
	@mkdir -p $(@D); cp $< $@
