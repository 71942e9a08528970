# SPDX-License-Identifier: MIT
"""A recipe of libkd for Conan 2, from the sources it lies in: conan create docs/packaging/conan."""
import os

from conan import ConanFile
from conan.tools.files import copy
from conan.tools.layout import basic_layout


class Libkd(ConanFile):
    name = "libkd"
    version = "0.1.0"
    license = "MIT"
    description = "Trains, distils, measures and deploys vision networks"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False]}
    default_options = {"shared": False}

    def export_sources(self):
        top = os.path.join(self.recipe_folder, "..", "..", "..")
        for pattern in ("Makefile", "LICENSE", "README.md", "CHANGELOG.md", "*.mk", "include/*",
                        "lib/*", "docs/*.md", "examples/*"):
            copy(self, pattern, top, self.export_sources_folder, excludes=("build/*", "runs/*"))

    def layout(self):
        basic_layout(self, src_folder=".")

    def _make(self, target):
        debug = 1 if self.settings.build_type == "Debug" else 0
        self.run(f"make {target} DEBUG={debug} PREFIX='{self.package_folder}'", cwd=self.source_folder)

    def build(self):
        self._make(f"-j{os.cpu_count()} all")

    def package(self):
        self._make("install")
        unwanted = "libkd.a" if self.options.shared else "libkd.so*"
        for name in os.listdir(os.path.join(self.package_folder, "lib")):
            if name == unwanted or (unwanted.endswith("*") and name.startswith(unwanted[:-1])):
                os.remove(os.path.join(self.package_folder, "lib", name))

    def package_info(self):
        self.cpp_info.libs = ["kd"]
        self.cpp_info.set_property("cmake_file_name", "kd")
        self.cpp_info.set_property("cmake_target_name", "kd::kd")
        self.cpp_info.set_property("pkg_config_name", "libkd")
        self.cpp_info.system_libs = ["m", "pthread"]
        if not self.options.shared:  # what the build found on this system
            self.cpp_info.system_libs += self._private_libs()

    def _private_libs(self):
        with open(os.path.join(self.package_folder, "lib", "pkgconfig", "libkd.pc"),
                  encoding="utf-8") as f:
            fields = dict(line.strip().split(": ", 1) for line in f if ": " in line)
        known = {"zlib": "z", "libjpeg": "jpeg", "libpng": "png", "libprotobuf-c": "protobuf-c"}
        libs = [known[n] for n in fields.get("Requires.private", "").replace(",", " ").split()]
        flags = fields.get("Libs.private", "").split()
        if "-fopenmp" in flags:
            self.cpp_info.sharedlinkflags.append("-fopenmp")
            self.cpp_info.exelinkflags.append("-fopenmp")
        return libs + [f[2:] for f in flags if f.startswith("-l") and f[2:] not in ("m", "pthread")]
