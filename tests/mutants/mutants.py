#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plants faults in a copy of the tree, one at a time, and tells which of them no test notices.

Faults are those of planted.txt, written by hand, and generated ones: operators swapped, constants
changed, conditions turned, statements dropped, functions that return at once. The suites that should
notice are in suites.txt. A fault counts if it compiles to other code than the original; those of
known.txt, which change nothing that can be seen, do not.

    python3 tests/mutants/mutants.py [--seed S] [--number N] [--jobs J] [--planted 0|1]
        [--seconds T] [--least P] [--files PATTERN] [--keep] [--list]

The checkout is only read. Copies are made below build/mutants, one a job, and removed afterwards.
The exit status is 1 if a planted fault, or more of the generated ones than `--least` percent allows,
went unnoticed; 2 if something is wrong with the lists or the tree. docs: tests/mutants/README.md.
"""
import argparse
import concurrent.futures
import fnmatch
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
ROOMS = ("lib/train/*.c", "lib/data/*.c", "examples/kd/*.c", "lib/edge/*.c", "lib/quant/*.c",
         "lib/export/*.c")

# ---- faults --------------------------------------------------------------------------------------


class Mutant:
    """One fault: `old` at `at` in the file becomes `new`."""

    def __init__(self, path, at, old, new, kind):
        self.path, self.at, self.old, self.new, self.kind = path, at, old, new, kind

    def apply(self, text):
        return text[:self.at] + self.new + text[self.at + len(self.old):]

    def line(self, text):
        return text.count("\n", 0, self.at) + 1

    def show(self, text):
        """FILE:LINE: kind: the line before => after."""
        number = self.line(text)
        before = text.split("\n")[number - 1].strip()
        after = self.apply(text).split("\n")[number - 1].strip()
        if self.old.count("\n") or before == after:
            before, after = " ".join(self.old.split()), " ".join(self.new.split())
        return f"{self.path}:{number}: {self.kind}: {before} => {after}"

    def key(self, text):
        """As known.txt names it: without the line's number."""
        return re.sub(r":\d+: ", ": ", self.show(text), count=1)


def blank(text):
    """The same length, with comments, strings and preprocessor lines blanked out."""
    def spaces(match):
        return re.sub(r"[^\n]", " ", match.group())
    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*"
    return re.sub(pattern, spaces, text, flags=re.S | re.M)


OPERATORS = [("<=", ["<"]), (">=", [">"]), ("==", ["!="]), ("!=", ["=="]), ("&&", ["||"]),
             ("||", ["&&"]), ("+=", ["-="]), ("-=", ["+="]), ("*=", ["/="]), ("/=", ["*="]),
             ("<", ["<=", ">"]), (">", [">=", "<"]), ("+", ["-"]), ("-", ["+"]), ("*", ["/"]),
             ("/", ["*"]), ("%", ["/"]), ("<<", [">>"]), (">>", ["<<"]), ("|=", ["&="]),
             ("&=", ["|="])]
RETURNS = {"void": "return;", "kd_status": "return KD_OK;", "bool": "return 0;", "int": "return 0;",
           "size_t": "return 0;", "double": "return 0;", "float": "return 0;", "uint64_t": "return 0;",
           "uint32_t": "return 0;", "int32_t": "return 0;", "uint8_t": "return 0;"}


def operators(path, code):
    swaps = dict(OPERATORS)
    for m in re.finditer(r"(?<= )(<<|>>|[<>=!+\-*/|&]=|&&|\|\||[<>+\-*/%])(?= )", code):
        for new in swaps.get(m.group(), []):
            yield Mutant(path, m.start(), m.group(), new, "operator")


def constants(path, code):
    for m in re.finditer(r"(?<![\w.])(\d+\.?\d*|\.\d+)(e-?\d+)?([uflULF]*)(?![\w.])", code):
        if re.search(r"\bchar \w+\[$", code[:m.start()][-60:]):
            continue  # more room than is needed changes nothing
        number, power, suffix = m.group(1), m.group(2) or "", m.group(3)
        if "." in number or power or "f" in suffix:
            value = float(number + power)
            new = repr(value * 2 if value else 1.0) + suffix
        else:
            new = {"0": "1", "1": "0"}.get(number, str(int(number) + 1)) + suffix
        yield Mutant(path, m.start(), m.group(), new, "constant")
    for m in re.finditer(r"\b(true|false)\b", code):
        new = "false" if m.group() == "true" else "true"
        yield Mutant(path, m.start(), m.group(), new, "constant")


def conditions(path, code):
    for m in re.finditer(r"!(?=[A-Za-z_(])", code):
        yield Mutant(path, m.start(), "!", "", "condition")
    for m in re.finditer(r"\bif \((?=[^;{]*)", code):
        yield Mutant(path, m.end() - 1, "(", "(!", "condition") \
            if simple_condition(code, m.end()) else Mutant(path, m.end(), "", "0 && ", "condition")


def simple_condition(code, at):
    end = code.find(")", at)
    return re.fullmatch(r"[\w>.\-\[\]]+", code[at:end]) is not None


def statements(path, code):
    # What stands alone on its line or lines and is neither a declaration nor a jump.
    pattern = r"^[ \t]+(?:if \([^;{}]*?\) |else )?((?:[*\w.\->\[\]]+(?: *[+\-*/|&]?= |\+\+|--)|[A-Za-z_]\w*\()[^;{}]*;)[ \t]*$"
    for m in re.finditer(pattern, code, flags=re.M):
        if re.match(r"(if|for|while|switch|return|sizeof|else|do)\b", m.group(1)):
            continue
        kept = "\n" * m.group(1).count("\n")
        yield Mutant(path, m.start(1), m.group(1), ";" + kept, "statement")


def returns(path, code):
    pattern = r"^(?:KD_API )?(?:static )?(?:inline )?(?:const )?(\w+) (\**)(\w+)\([^;{}]*\)\n\{\n"
    for m in re.finditer(pattern, code, flags=re.M):
        new = "return NULL;" if m.group(2) else RETURNS.get(m.group(1))
        if new:
            yield Mutant(path, m.end() - 1, "", " " + new, f"{m.group(3)} returns at once")


def generate(path, text):
    code = blank(text)
    for make in (operators, constants, conditions, statements, returns):
        for mutant in make(path, code):
            if mutant.old:  # what was blanked inside a statement is the original's
                mutant.old = text[mutant.at:mutant.at + len(mutant.old)]
            yield mutant


# ---- lists ---------------------------------------------------------------------------------------


def lines_of(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file if line.strip() and not line.startswith("#")]


def loosely(text):
    """A pattern for the text with any white space between its words."""
    return r"\s+".join(re.escape(word) for word in text.split())


def planted(read):
    """@ FILE | what it is; then - lines that are there once and + lines that replace them."""
    mutants, stale = [], []
    for block in "\n".join(lines_of("planted.txt")).split("@ ")[1:]:
        head, *rest = block.strip("\n").split("\n")
        path, kind = (part.strip() for part in head.split("|", 1))
        old = "\n".join(line[2:] for line in rest if line.startswith("- "))
        new = "\n".join(line[2:] for line in rest if line.startswith("+ "))
        text = read(path)
        found = list(re.finditer(loosely(old), text)) if text else []
        if len(found) != 1:
            stale.append(f"planted.txt: {path}: {kind}: {len(found)} places: {old.strip()}")
        else:
            mutants.append(Mutant(path, found[0].start(), found[0].group(), new.strip(), kind))
    return mutants, stale


def unknown_suites():
    """A suite that there is not passes whatever the fault."""
    with open(os.path.join(TOP, "tests/suites.def"), encoding="utf-8") as file:
        there = set(re.findall(r"^SUITE\((\w+)\)", file.read(), re.M))
    return [f"suites.txt: {pattern}: there is no suite {name}" for pattern, *names in
            map(str.split, lines_of("suites.txt")) for name in names if name not in there]


def suites_for(path, without=()):
    """The suites of the first pattern that the file matches, the quick ones first."""
    for line in lines_of("suites.txt"):
        pattern, *suites = line.split()
        if fnmatch.fnmatch(path, pattern):
            return [s for s in suites if s not in without]
    return []


# ---- trees ---------------------------------------------------------------------------------------


class Tree:
    """A copy of the checkout in which one fault at a time is planted."""

    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.known_steps = {}
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, check=True,
                               capture_output=True, text=True).stdout.split("\n")
        for name in filter(None, files):
            if os.path.isfile(os.path.join(TOP, name)):
                os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
                shutil.copy2(os.path.join(TOP, name), os.path.join(folder, name))
        self.temporary = os.path.join(folder, "tmp")
        os.makedirs(self.temporary)

    def run(self, command, seconds, **environment):
        """Exit status, or None if it took longer; its whole process group ends."""
        env = dict(os.environ, TMPDIR=self.temporary, MAKEFLAGS="", **environment)
        process = subprocess.Popen(command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True, text=True, errors="replace")
        try:
            self.output, _ = process.communicate(timeout=seconds)
            return process.returncode
        except subprocess.TimeoutExpired:
            return None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
            process.wait()

    def make(self, *targets):
        return self.run(["make", "--no-print-directory", *self.options.make, *targets], 1800)

    def steps(self, path):
        """What make would do for the tests and for kd if this file had changed, as commands: to
        compile it, to link the tests, to link kd. It is asked once a file: starting make takes
        longer than most of what it does."""
        if path not in self.known_steps:
            self.make("-n", "-W", path, f"{self.obj}/bin/tests", f"{self.obj}/bin/kd")
            whole = self.output.replace("\\\n", " ")  # a command may go on in the next line
            lines = [line for line in whole.split("\n") if line.strip()
                     and not line.startswith(("mkdir", "make", "[")) and "build/.commit" not in line]
            compiles = [line for line in lines if " -c -o " in line and line.split()[-1] == path]
            rest = [line for line in lines if " -c -o " not in line]
            program = [line for line in rest
                       if re.search(r"/(libkd|whole)\.(o|a)\b|/bin/kd\b", line) and "/bin/tests " not in line]
            self.known_steps[path] = compiles, [r for r in rest if r not in program], program
        return self.known_steps[path]

    def do(self, commands):
        return self.run(["sh", "-c", " && ".join(commands) or ":"], 1800)

    def build(self):
        """Everything as it is; objects of the checkout that are up to date are taken."""
        if self.make("-pn", "help") != 0:
            return False
        match = re.search(r"^obj := *(\S+)$|^obj = *(\S+)$", self.output, re.M)
        self.obj = match.group(1) if match and "$" not in match.group(1) else None
        if not self.obj:
            cfg = re.search(r"^cfg := *(\S+)$", self.output, re.M)
            self.obj = "build/obj/" + cfg.group(1)
        there = os.path.join(TOP, self.obj)
        if os.path.isdir(there):
            shutil.copytree(there, os.path.join(self.folder, self.obj), symlinks=True)
        if self.make("-j", str(self.options.jobs), f"{self.obj}/bin/tests", f"{self.obj}/bin/shim.so",
                     f"{self.obj}/bin/kd") != 0:
            return False
        shutil.copytree(os.path.join(self.folder, self.obj, "bin"), os.path.join(self.folder, "whole"))
        return True

    def read(self, path):
        try:
            with open(os.path.join(self.folder, path), encoding="utf-8") as file:
                return file.read()
        except OSError:
            return None

    def write(self, path, text):
        with open(os.path.join(self.folder, path), "w", encoding="utf-8") as file:
            file.write(text)

    def code(self, object_file):
        """The object without what only debuggers read."""
        bare = os.path.join(self.temporary, "bare.o")
        self.run(["objcopy", "--strip-debug", object_file, bare], 60)
        with open(bare, "rb") as file:
            return file.read()

    def objects(self, path):
        """The object files a source is compiled to: kernels have one for each table, and a header
        is in many."""
        if path.endswith(".h"):
            return [o[:-2] + ".o" for o in self.dependencies() if self.includes(o, path)]
        folder, name = os.path.dirname(path), re.escape(os.path.basename(path)[:-2])
        return [os.path.join(self.obj, folder, f)
                for f in sorted(os.listdir(os.path.join(self.folder, self.obj, folder)))
                if re.fullmatch(name + r"(\.\w+)?\.o", f)]

    def dependencies(self):
        for folder, _, files in sorted(os.walk(os.path.join(self.folder, self.obj))):
            for name in sorted(files):
                if name.endswith(".d"):
                    yield os.path.relpath(os.path.join(folder, name), self.folder)

    def includes(self, rule, path):
        words = self.read(rule).replace("\\\n", " ").split()
        return any(os.path.normpath(w) == path for w in words)

    def suite(self, name, binaries=None):
        binaries = binaries or f"{self.obj}/bin"
        return self.run([f"{binaries}/tests", name], self.options.seconds, KD_BIN_DIR=binaries,
                        KD_GOLDEN="tests/golden", OMP_WAIT_POLICY="passive",
                        CK_TIMEOUT_MULTIPLIER="8")  # a busy machine is no fault

    def notice(self, suites, program=None):
        """The first suite that fails, and how; None: all pass. program: how kd is linked."""
        linked = False
        for name in suites:
            if program is not None and programs_of(self.folder, name) == ["kd"] and needs_program(name):
                if not linked and self.do(program) != 0:
                    return "does not link"
                linked = True
            elif needs_program(name):
                if self.make(*(f"{self.obj}/bin/{p}" for p in programs_of(self.folder, name))) != 0:
                    return "does not link"
            status = self.suite(name)
            if status is None:
                return f"{name}, by time"
            if status != 0:
                self.check(name)
                return name
        return None

    def check(self, name):
        """Without any fault the suite passes: else it would notice everything."""
        with CHECKED[0]:
            if name not in CHECKED[1]:
                CHECKED[1][name] = name in ("embed", "experiments") or self.suite(name, "whole") == 0
        if not CHECKED[1][name]:
            sys.exit(f"without any fault the suite {name} fails")

    def try_mutant(self, mutant):
        """("skipped", why), ("noticed", by what) or ("unnoticed", "")."""
        text = self.read(mutant.path)
        objects = self.objects(mutant.path)
        before = [self.code(o) for o in objects]
        kept = [(o, open(os.path.join(self.folder, o), "rb").read()) for o in objects]
        self.write(mutant.path, mutant.apply(text))
        try:
            compiles, tests, program = self.steps(mutant.path)
            if self.do(compiles) != 0 if compiles else self.make(*objects) != 0:
                return "skipped", "does not compile"
            if [self.code(o) for o in objects] == before:
                return "skipped", "the same code"
            if self.do(tests) != 0 if compiles else self.make(f"{self.obj}/bin/tests") != 0:
                return "skipped", "does not link"
            by = self.notice(suites_for(mutant.path, self.options.without),
                             program if compiles else None)
            return ("noticed", by) if by else ("unnoticed", "")
        finally:
            self.write(mutant.path, text)
            for name, content in kept:
                with open(os.path.join(self.folder, name), "wb") as file:
                    file.write(content)
            for entry in os.listdir(self.temporary):
                shutil.rmtree(os.path.join(self.temporary, entry), ignore_errors=True)


CHECKED = (threading.Lock(), {})
# Suites that start programs, not the tests alone.
PROGRAM_SUITES = {"signals", "kill", "fault", "experiments", "embed"}


def needs_program(suite):
    return suite.startswith("cli") or suite in PROGRAM_SUITES


def programs_of(folder, suite):
    if suite == "embed":
        return [f[:-2] for f in sorted(os.listdir(os.path.join(folder, "examples/embed"))) if f.endswith(".c")]
    if suite == "experiments":
        return ["experiment-" + n for n in ("cnn-to-cnn", "vit-to-cnn", "vit-to-vit")]
    return ["kd"]


# ---- the whole -----------------------------------------------------------------------------------


def candidates(tree, options):
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, check=True,
                           capture_output=True, text=True).stdout.split()
    wanted = [f for f in sorted(set(files)) if any(fnmatch.fnmatch(f, p) for p in options.rooms)
              and fnmatch.fnmatch(f, options.files) and tree.read(f) is not None]
    mutants = [m for f in wanted for m in generate(f, tree.read(f))]
    random.Random(options.seed).shuffle(mutants)
    return mutants


class Course:
    """Goes through a list of mutants with all trees until enough of them count."""

    def __init__(self, trees, known):
        self.trees, self.known = queue.Queue(), known
        for tree in trees:
            self.trees.put(tree)

    def one(self, mutant):
        tree = self.trees.get()
        try:
            start = time.monotonic()
            outcome = tree.try_mutant(mutant)
            return outcome + (time.monotonic() - start,)
        finally:
            self.trees.put(tree)

    def run(self, mutants, enough, jobs):
        """Results in the list's order: which mutants are looked at does not depend on the jobs."""
        results, at, left = [], 0, list(mutants)
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            while len(results) < enough and at < len(left):
                batch = left[at:at + min(4 * jobs, max(jobs, enough - len(results)))]
                at += len(batch)
                for mutant, (what, by, seconds) in zip(batch, pool.map(self.one, batch)):
                    text = read_top(mutant.path)
                    if what == "skipped" or len(results) == enough:
                        continue
                    if what == "unnoticed" and mutant.key(text) in self.known:
                        print(f"known     {mutant.show(text)}", flush=True)
                        continue
                    results.append((mutant, what))
                    print(f"{what:9} {mutant.show(text)}" + (f"  [{by}, {seconds:.0f} s]" if by else ""),
                          flush=True)
        return results


def percent(results):
    noticed = sum(what == "noticed" for _, what in results)
    return noticed, 100 * noticed / len(results) if results else 100.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=200, help="generated faults that count")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--planted", type=int, default=1, help="0: only generated ones")
    parser.add_argument("--seconds", type=float, default=300, help="for one suite")
    parser.add_argument("--least", type=float, default=95, help="percent of the generated ones")
    parser.add_argument("--files", default="*", help="of these files alone")
    parser.add_argument("--rooms", nargs="*", default=ROOMS)
    parser.add_argument("--make", nargs="*", default=[], help="variables for make, e.g. CC=gcc")
    parser.add_argument("--without", nargs="*", default=[], help="suites to leave out")
    parser.add_argument("--keep", action="store_true", help="leave the copies")
    parser.add_argument("--list", action="store_true", help="print the candidates alone")
    return parser.parse_args()


def open_trees(folder, options):
    first = Tree(os.path.join(folder, "0"), options)
    if not first.build():
        sys.exit(f"the tree does not build:\n{first.output[-2000:]}")
    trees = [first]
    for k in range(1, options.jobs):
        copy = object.__new__(Tree)
        copy.__dict__.update(first.__dict__)
        copy.folder = os.path.join(folder, str(k))
        copy.known_steps = {}
        shutil.copytree(first.folder, copy.folder, symlinks=True)
        copy.temporary = os.path.join(copy.folder, "tmp")
        trees.append(copy)
    return trees


def work(folder, options):
    plain = argparse.Namespace(read=lambda path: read_top(path))
    by_hand, stale = planted(plain.read)
    stale += unknown_suites()
    by_hand = [m for m in by_hand if fnmatch.fnmatch(m.path, options.files)] if options.planted else []
    generated = candidates(plain, options)
    if options.list:
        for mutant in by_hand + generated:
            print(mutant.show(read_top(mutant.path)))
        return 0
    trees = open_trees(folder, options)
    course = Course(trees, {line.split("   #")[0].strip() for line in lines_of("known.txt")})
    first = course.run(by_hand, len(by_hand), options.jobs)
    second = course.run(generated, options.number, options.jobs)
    for name, results in (("planted", first), ("generated", second)):
        noticed, share = percent(results)
        print(f"{name}: {noticed} of {len(results)} noticed, {share:.1f} %")
    for mutant, what in first + second:
        if what == "unnoticed":
            print(f"nobody noticed {mutant.show(read_top(mutant.path))}")
    for line in stale:
        print(line)
    if stale:
        return 2
    return int(percent(first)[1] < 100 or percent(second)[1] < options.least)


def read_top(path):
    try:
        with open(os.path.join(TOP, path), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def main():
    options = arguments()
    os.makedirs(os.path.join(TOP, "build/mutants"), exist_ok=True)
    folder = tempfile.mkdtemp(dir=os.path.join(TOP, "build/mutants"))
    try:
        return work(folder, options)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
