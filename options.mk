# Options of the build, given as 'make NAME=VALUE' or in the environment:
#   BLAS=builtin|openblas  OPENMP=0|1  THREADS=1|0 (0: the library starts none)
#   ZLIB=1|0  JPEG=1|0  PNG=1|0 (default: 1 where the library is found)
#   CC=  CFLAGS=  DEBUG=1  SANITIZE=address,undefined|thread  WERROR=1  V=1 (commands are shown)
# Objects of different options live in different folders, $(obj), and never mix.

BLAS ?= builtin
OPENMP ?= 0
THREADS ?= 1
DEBUG ?= 0
SANITIZE ?=
CFLAGS ?=
CC := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
AR := ar
OBJCOPY := objcopy
PYTHON ?= python3
Q := $(if $(filter 1,$(V)),,@)

# ---- what is found ---------------------------------------------------------------------------
machine := $(shell $(CC) -dumpmachine 2>/dev/null)
hash := \#
has = $(shell printf '$(hash)include <$(1)>\n' | $(CC) -E -xc - >/dev/null 2>&1 && echo 1 || echo 0)
# The header may be another architecture's, so the library counts, too.
has_lib = $(if $(findstring /,$(shell $(CC) -print-file-name=lib$(1).so; $(CC) -print-file-name=lib$(1).a)),$(call has,$(2)),0)
ZLIB ?= $(call has_lib,z,zlib.h)
JPEG ?= $(call has_lib,jpeg,jpeglib.h)
PNG ?= $(call has_lib,png,png.h)
ZLIB := $(ZLIB)
JPEG := $(JPEG)
PNG := $(PNG)

# ---- the objects' folder ---------------------------------------------------------------------
comma := ,
empty :=
space := $(empty) $(empty)
cfg_words = $(subst $(space),_,$(notdir $(CC))) $(firstword $(subst -, ,$(machine))) $(BLAS) \
    $(if $(filter 1,$(OPENMP)),openmp,$(if $(filter 0,$(THREADS)),serial)) \
    $(if $(filter 0,$(ZLIB)),nozlib) $(if $(filter 0,$(JPEG)),nojpeg) $(if $(filter 0,$(PNG)),nopng) \
    $(subst $(comma),+,$(SANITIZE)) $(if $(filter 1,$(DEBUG)),debug)
cfg := $(subst $(space),-,$(strip $(cfg_words)))
obj := build/obj/$(cfg)

# ---- flags -----------------------------------------------------------------------------------
std := -std=c11 -D_GNU_SOURCE
warn := -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wconversion -Wstrict-prototypes -Wundef -Wvla \
    $(if $(WERROR),-Werror)
opt := $(if $(filter 1,$(DEBUG)),-O1 -g -DKDI_DEBUG=1,-O2 -g)
san := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
omp := $(if $(filter 1,$(OPENMP)),-fopenmp)
defs := -DKDI_ZLIB=$(ZLIB) -DKDI_JPEG=$(JPEG) -DKDI_PNG=$(PNG) -DKDI_THREADS=$(THREADS) \
    -DKDI_OPENBLAS=$(if $(filter openblas,$(BLAS)),1,0)
cflags = $(std) $(warn) $(opt) $(san) -Iinclude $(defs) $(CFLAGS)
libs := $(if $(filter openblas,$(BLAS)),-lopenblas) $(if $(filter 1,$(JPEG)),-ljpeg) \
    $(if $(filter 1,$(PNG)),-lpng) $(if $(filter 1,$(ZLIB)),-lz) -lm -lpthread
compile = $(CC) $(cflags)
link = $(CC) $(san) $(omp)

# As many jobs as processors, unless make was told how many.
parallel = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))
again = $(MAKE) --no-print-directory
