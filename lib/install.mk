# What is given away: install, uninstall, dist. Folders may be given one by one; DESTDIR goes in front of all.
#   make install PREFIX=/usr LIBDIR=/usr/lib/x86_64-linux-gnu DESTDIR=package STRIP=

.PHONY: install uninstall dist sbom
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/libkd
STRIP ?= $(CROSS)strip
share := build/share

# ---- what says how to link -------------------------------------------------------------------
# Libraries that pkg-config knows by a name are named by it, others by their flag. OpenBLAS is one of these: its
# file names a Fortran library, which only a program without any shared library needs.
pc_of_-lz := zlib
pc_of_-ljpeg := libjpeg
pc_of_-lpng := libpng
pc_of_-lprotobuf-c := libprotobuf-c
known_pc = $(if $(pc_of_$(1)),$(shell $(PKG_CONFIG) --exists $(pc_of_$(1)) 2>/dev/null && echo $(pc_of_$(1))))
named_libs = $(foreach l,$(libs),$(call known_pc,$(l)))
other_libs = $(foreach l,$(libs),$(if $(call known_pc,$(l)),,$(l))) $(omp) $(LDLIBS)
from_prefix = $(patsubst $(PREFIX)/%,$${prefix}/%,$(1))

define libkd.pc
prefix=$(PREFIX)
libdir=$(call from_prefix,$(LIBDIR))
includedir=$(call from_prefix,$(INCLUDEDIR))

Name: libkd
Description: trains, distils and measures vision networks
Version: $(version)
License: MIT
Requires.private: $(call joined,$(comma) ,$(named_libs))
Libs: -L$${libdir} -lkd
Libs.private: $(strip $(other_libs))
Cflags: -I$${includedir}
endef

define kdConfig.cmake
# kd::shared and kd::static; kd::kd is kd::static where kd_USE_STATIC is set or there is no other, else kd::shared.
set(_kd_lib "$(LIBDIR)")
set(_kd_include "$(INCLUDEDIR)")
if(NOT EXISTS "$${_kd_lib}/libkd.a" AND NOT EXISTS "$${_kd_lib}/$(so)") # the folder was moved as a whole
  get_filename_component(_kd_lib "$${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
  get_filename_component(_kd_include "$${_kd_lib}/../include" ABSOLUTE)
endif()
foreach(_kd_kind shared static)
  string(TOUPPER $${_kd_kind} _kd_type)
  set(_kd_file "$${_kd_lib}/libkd.a")
  if(_kd_kind STREQUAL shared)
    set(_kd_file "$${_kd_lib}/$(so)")
  endif()
  if(EXISTS "$${_kd_file}" AND NOT TARGET kd::$${_kd_kind})
    add_library(kd::$${_kd_kind} $${_kd_type} IMPORTED)
    set_target_properties(kd::$${_kd_kind} PROPERTIES
      IMPORTED_LOCATION "$${_kd_file}" INTERFACE_INCLUDE_DIRECTORIES "$${_kd_include}")
  endif()
endforeach()
if(TARGET kd::static)
  set_target_properties(kd::static PROPERTIES INTERFACE_LINK_LIBRARIES "$(call joined,;,$(libs) $(omp) $(LDLIBS))")
endif()
if(NOT TARGET kd::kd)
  add_library(kd::kd INTERFACE IMPORTED)
  if(TARGET kd::static AND (kd_USE_STATIC OR NOT TARGET kd::shared))
    set_target_properties(kd::kd PROPERTIES INTERFACE_LINK_LIBRARIES kd::static)
  else()
    set_target_properties(kd::kd PROPERTIES INTERFACE_LINK_LIBRARIES kd::shared)
  endif()
endif()
endef

# Before 1.0 a minor version may change the interface.
define kdConfigVersion.cmake
set(PACKAGE_VERSION "$(version)")
string(REGEX MATCH "^[0-9]+\.[0-9]+" _kd_have "$${PACKAGE_VERSION}")
string(REGEX MATCH "^[0-9]+\.[0-9]+" _kd_want "$${PACKAGE_FIND_VERSION}")
if(_kd_have STREQUAL _kd_want AND NOT PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_VERSION STREQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
endef

texts := libkd.pc kdConfig.cmake kdConfigVersion.cmake
$(texts:%=$(share)/%): export text = $($(@F))
$(texts:%=$(share)/%): FORCE
	@mkdir -p $(@D); printf '%s\n' "$$text" >$@

# What kd says about itself. A foreign machine's kd needs a RUNNER (an emulator); without one there is none of it.
by_kd := kd.1 kd _kd
say_kd.1 := manual
say_kd := completion bash
say__kd := completion zsh
no_by_kd := $(and $(CROSS),$(if $(RUNNER),,1))
$(by_kd:%=$(share)/%): build/bin/kd
	@mkdir -p $(@D); $(RUNNER) build/bin/kd $(say_$(@F)) >$@
# kd-train.1 and its like: a page for each command that kd.c's table names.
commands := $(shell sed -n 's/^     "\([a-z]*\)",$$/\1/p' examples/kd/kd.c)
$(commands:%=$(share)/kd-%.1): $(share)/kd-%.1: build/bin/kd
	@mkdir -p $(@D); $(RUNNER) build/bin/kd manual --command $* >$@

# ---- what goes where -------------------------------------------------------------------------
groups := headers shared static program pc cmake readme guides embed_sources
headers := $(wildcard include/kd/*.h)
headers_to = $(INCLUDEDIR)/kd
shared := build/lib/$(so)
shared_to = $(LIBDIR)
shared_mode := 755
static := build/lib/libkd.a
static_to = $(LIBDIR)
program := build/bin/kd
program_to = $(BINDIR)
program_mode := 755
pc := $(share)/libkd.pc
pc_to = $(LIBDIR)/pkgconfig
cmake := $(share)/kdConfig.cmake $(share)/kdConfigVersion.cmake
cmake_to = $(LIBDIR)/cmake/kd
readme := README.md LICENSE CHANGELOG.md
readme_to = $(DOCDIR)
guides := $(wildcard docs/*.md)
guides_to = $(DOCDIR)/docs
embed_sources := $(wildcard examples/embed/*.c)
embed_sources_to = $(DOCDIR)/examples/embed
ifndef no_by_kd
groups += man bash zsh
endif
man := $(share)/kd.1 $(commands:%=$(share)/kd-%.1)
man_to = $(MANDIR)/man1
bash := $(share)/kd
bash_to = $(DATADIR)/bash-completion/completions
zsh := $(share)/_kd
zsh_to = $(DATADIR)/zsh/site-functions

so_real := $(if $(darwin),libkd.$(version).dylib,libkd.so.$(version))
own_folders = $(headers_to) $(cmake_to) $(guides_to) $(embed_sources_to) $(DOCDIR)/examples $(DOCDIR)

define put
@mkdir -p $(DESTDIR)$($(1)_to)
@install -m $(or $($(1)_mode),644) $($(1)) $(DESTDIR)$($(1)_to)

endef
install: all $(foreach g,$(groups),$($(g))) ## headers, libraries, kd, its manual and completion, files for pkg-config and CMake
	$(foreach g,$(groups),$(call put,$(g)))
	@cd $(DESTDIR)$(LIBDIR) && mv $(so) $(so_real) && ln -sf $(so_real) $(soname) && ln -sf $(soname) $(so)
	$(if $(STRIP),@cd $(DESTDIR)$(LIBDIR) && $(STRIP) --strip-unneeded $(so_real) && $(STRIP) --strip-debug libkd.a)
	$(if $(STRIP),@$(STRIP) $(DESTDIR)$(BINDIR)/kd)
uninstall: ## remove what install put there, and nothing else
	@:$(foreach g,$(groups) man bash zsh,$(foreach f,$($(g)),; rm -f $(DESTDIR)$($(g)_to)/$(notdir $(f))))
	@rm -f $(DESTDIR)$(LIBDIR)/$(so_real) $(DESTDIR)$(LIBDIR)/$(soname)
	@for f in $(own_folders); do rmdir $(DESTDIR)$$f 2>/dev/null || :; done

package := libkd-$(version)
pack_git := git archive --prefix=$(package)/ -o build/$(package).tar.gz HEAD
pack_tree := rm -rf build/$(package) && mkdir build/$(package) && \
    tar -cf - --exclude ./build . | tar -xf - -C build/$(package) && \
    tar -czf build/$(package).tar.gz -C build $(package) && rm -rf build/$(package)
dist: ## build/libkd-VERSION.tar.gz of what is committed; without a repository, of what is there
	@mkdir -p build && $(if $(wildcard .git),$(pack_git),$(pack_tree))
	@echo build/$(package).tar.gz
sbom: ## build/libkd.spdx: the bill of materials, every file with its sum and licence
	@mkdir -p build && reuse spdx -o build/libkd.spdx && echo build/libkd.spdx
