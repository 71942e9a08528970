# Options of the build, given as 'make NAME=VALUE' or in the environment:
#   OPENMP=1|0 (default: 1 where the compiler has it)  THREADS=1|0 (0: the library starts none)
#   BLAS=openblas|builtin (default: openblas where it is found, with OPENMP=1)
#   ZLIB=1|0  JPEG=1|0  PNG=1|0                    default: 1 where the library is found
#   ONNX=1|0 (default: 1 where protobuf-c's library and compiler are found)
#   CC=  CROSS=aarch64-linux-gnu-  CPPFLAGS=  CFLAGS=  LDFLAGS=  LDLIBS=
#   DEBUG=1  SANITIZE=address,undefined|thread  WERROR=1  V=1 (commands are shown)
# Objects of different options, or of another version of the compiler, lie in different folders.

# Whatever changes objects. The folder's name has their sum.
options := CC AR OBJCOPY CROSS BLAS OPENMP THREADS ZLIB JPEG PNG ONNX CPPFLAGS CFLAGS LDFLAGS LDLIBS DEBUG SANITIZE
# 'make install' installs what was built last, where it is not told otherwise.
ifneq ($(filter install,$(MAKECMDGOALS)),)
-include build/last.mk
endif

THREADS ?= 1
DEBUG ?= 0
CC := $(if $(filter default undefined,$(origin CC)),$(CROSS)gcc,$(CC))
lto := $(if $(filter -flto%,$(CFLAGS)),$(if $(findstring clang,$(CC)),-flto,-flto=auto))
lto_ar := $(if $(lto),$(if $(findstring clang,$(CC)),llvm-ar,$(CROSS)gcc-ar),$(CROSS)ar)
AR := $(if $(filter default undefined,$(origin AR)),$(lto_ar),$(AR))
OBJCOPY ?= $(CROSS)objcopy
target := $(CROSS:%-=%)
target_pkgs = PKG_CONFIG_LIBDIR=/usr/lib/$(target)/pkgconfig:/usr/$(target)/lib/pkgconfig
PKG_CONFIG ?= $(if $(CROSS),env $(target_pkgs)) pkg-config
PYTHON ?= python3
Q := $(if $(filter 1,$(V)),,@)

# ---- what the compiler says ------------------------------------------------------------------
comma := ,
hash := \#
empty :=
space := $(empty) $(empty)
define newline


endef
quote = '$(subst ','\'',$(1))'
joined = $(subst $(space),$(1),$(strip $(2)))
is_macro := __x86_64__ __aarch64__ __APPLE__ __clang__
asked := $(is_macro) __GNUC__ __GNUC_MINOR__ __GNUC_PATCHLEVEL__ __clang_major__ __clang_minor__ __clang_patchlevel__
said := $(shell echo $(asked) | $(CC) $(CPPFLAGS) $(CFLAGS) -E -P -xc - 2>/dev/null)
is = $(filter 1,$(word $(1),$(said)))
machine := $(shell $(CC) -dumpmachine 2>/dev/null)
arch := $(if $(call is,1),x86_64,$(if $(call is,2),aarch64,$(firstword $(subst -, ,$(machine)))))
darwin := $(call is,3)
clang := $(call is,4)
cc_version := $(call joined,.,$(wordlist $(if $(clang),8,5),$(if $(clang),10,7),$(said)))
first_of = $(firstword $(subst -, ,$(notdir $(1))))
other_machine = $(if $(and $(CROSS),$(machine)),$(if $(filter $(call first_of,$(CROSS)),$(call first_of,$(machine))),,1))
check_machine = $(if $(other_machine),$(error CROSS=$(CROSS), but CC=$(CC) makes programs for $(machine)))

# $(call has,HEADER) is 1 or 0; so is $(call links,HEADERS,FLAGS): whether a program is linked with them.
has = $(shell echo '$(hash)include <$(1)>' | $(CC) $(CPPFLAGS) $(CFLAGS) -E -xc - >/dev/null 2>&1 && echo 1 || echo 0)
link_test = printf '$(1:%=$(hash)include <%>\n)int main(void) { return 0; }\n' | \
    $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o /dev/null -xc - $(2) $(LDLIBS) >/dev/null 2>&1
links = $(shell $(link_test) && echo 1 || echo 0)
ZLIB ?= $(call links,zlib.h,-lz)
JPEG ?= $(call links,stdio.h jpeglib.h,-ljpeg)
PNG ?= $(call links,png.h,-lpng)
PROTOC_C ?= protoc-c
ONNX ?= $(if $(shell command -v $(PROTOC_C) 2>/dev/null),$(call links,protobuf-c/protobuf-c.h,-lprotobuf-c),0)
# The thread sanitizer cannot see into OpenMP's library. musl-gcc, a wrapper of the system's gcc, links with the
# system's OpenMP, which musl cannot load. OpenBLAS keeps to one thread in regions of the OpenMP that it was
# built with, which is gcc's.
no_omp = $(filter 0,$(THREADS))$(findstring thread,$(SANITIZE))$(filter musl-gcc,$(notdir $(CC)))
OPENMP ?= $(if $(no_omp),0,$(call links,omp.h,-fopenmp))
OPENMP := $(OPENMP)
can_blas = $(if $(filter 1,$(OPENMP)),$(if $(clang),,$(filter 1,$(call links,cblas.h,-lopenblas))))
BLAS ?= $(if $(can_blas),openblas,builtin)
BLAS := $(BLAS)
ZLIB := $(ZLIB)
JPEG := $(JPEG)
PNG := $(PNG)
ONNX := $(ONNX)

# ---- the objects' folder ---------------------------------------------------------------------
values := $(foreach o,$(options),$(o)=$($(o))) $(cc_version)
sum := $(shell printf %s $(call quote,$(values)) | cksum | cut -d' ' -f1)
cfg_words = $(call joined,_,$(notdir $(CC))) $(arch) $(BLAS) \
    $(if $(filter 1,$(OPENMP)),openmp,$(if $(filter 0,$(THREADS)),serial)) \
    $(subst $(comma),+,$(SANITIZE)) $(if $(filter 1,$(DEBUG)),debug) $(sum)
cfg := $(call joined,-,$(cfg_words))
obj := build/obj/$(cfg)

# ---- flags -----------------------------------------------------------------------------------
std := -std=c11 -D_GNU_SOURCE
# Long texts in an array's initialiser are two literals: clang takes the first of those for a forgotten comma.
warn := -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wconversion -Wstrict-prototypes -Wundef -Wvla \
    $(if $(clang),-Wno-string-concatenation) $(if $(WERROR),-Werror)
opt := $(if $(filter 1,$(DEBUG)),-O1 -g -DKDI_DEBUG=1,-O2 -g)
san := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
omp := $(if $(filter 1,$(OPENMP)),-fopenmp)
defs := -DKDI_ZLIB=$(ZLIB) -DKDI_JPEG=$(JPEG) -DKDI_PNG=$(PNG) -DKDI_ONNX=$(ONNX) -DKDI_THREADS=$(THREADS) \
    -DKDI_OPENBLAS=$(if $(filter openblas,$(BLAS)),1,0)
libs := $(if $(filter openblas,$(BLAS)),-lopenblas) $(if $(filter 1,$(JPEG)),-ljpeg) \
    $(if $(filter 1,$(PNG)),-lpng) $(if $(filter 1,$(ONNX)),-lprotobuf-c) \
    $(if $(filter 1,$(ZLIB)),-lz) -lm -lpthread

# The caller's flags come last, but for what single objects cannot do without: their $(own).
caller = $(CPPFLAGS) $(CFLAGS)
compile = $(check_machine)$(CC) $(std) $(warn) $(opt) $(san) $(omp) -Iinclude $(defs) $(caller) $(own)
link = $(CC) $(san) $(omp) $(CFLAGS) $(lto) $(LDFLAGS)

# As many jobs as processors, unless make was told how many.
parallel = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))
# Recipes that use it begin with +: without it, make does not know that it calls itself, and gives no jobs away.
again = $(MAKE) --no-print-directory
