#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""amalgamation.py FOLDER VERSION: writes FOLDER/kd.h, the public headers, and FOLDER/kd.c, the library in one file.

In one file two things change. What a file keeps to itself (static functions, enumerators, macros, types) gets a
name with the file's in it, as others have the same names. The kernels, which the library compiles once for each
instruction set, stand there once; kd.c includes itself for each set, with its name in theirs.

Names are found without a compiler: what is declared outside of braces and parentheses. A file that hides a name
from that (pasted of two) does not compile in the amalgamation, which tests/consumer/amalgamation.sh does.
Run from the top of the tree. The same tree gives the same bytes."""
import functools
import os
import re
import sys

ISA, AMX = 'lib/kernel/isa', 'lib/kernel/amx'
ONNX = 'lib/onnx/'  # but for onnx.c wants messages that protobuf-c makes, and its library: left out
DECLARED = {AMX + '/avx512.h'}  # of functions that stand before it: gcc wants the options of both to be the same
FEATURES = {'__AVX2__': 'KDI_AVX2', '__AVX512F__': 'KDI_AVX512', '__AVX512BW__': 'KDI_AVX512'}  # of the table
TEMPLATES = {ISA + '/separable.h', ISA + '/separable_filters.h'}  # of the file that includes them
LOOPS = {'lib/train/adamw.c', 'lib/train/sgd.c'}  # compiled like kernels, for the common processor
KERNEL_OPTIONS = '"O3", "fp-contract=fast", "no-math-errno", "no-trapping-math", "align-functions=64"'  # kernel.mk's
FOREIGN = {'jvirt_sarray_control', 'jvirt_barray_control'}  # structs that libjpeg leaves to others
OURS = re.compile(r'kd|KD')
TOKEN = re.compile(r'''/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
    | ^[ \t]*\#(?:\\\n|/\*.*?\*/|[^\n])* | [A-Za-z_]\w* | \.?\d(?:[eEpP][+-]|[\w.])* | -> | \#\# | \s+ | .''',
                   re.X | re.S | re.M)
NAME = re.compile(r'[A-Za-z_]\w*$')
KEYWORDS = set('''auto break case char const continue default do double else enum extern float for goto if inline int
    long register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    bool size_t'''.split())


@functools.lru_cache(None)
def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


@functools.lru_cache(None)
def tokens_of(source):
    return TOKEN.findall(source)


def is_code(token):
    return not token.isspace() and not token.startswith(('/*', '//')) and not token.lstrip().startswith('#')


# ---- what a file declares ----------------------------------------------------------------------
def grouped(tokens):
    """Tokens as a list in which what stands in brackets is one element: (bracket, list)."""
    stack = [('', [])]
    for token in tokens:
        if token in ('(', '[', '{'):
            stack.append((token, []))
        elif token in (')', ']', '}'):
            group = stack.pop()
            stack[-1][1].append(group)
        else:
            stack[-1][1].append(token)
    if len(stack) != 1:
        raise SystemExit('amalgamation.py: brackets that do not match')
    return stack[0][1]


def split(items, at):
    parts = [[]]
    for item in items:
        if item == at:
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


def tags(items, found):
    """Tags and enumerators of the types that are defined in items, which are taken out of them."""
    left, i = [], 0
    while i < len(items):
        item = items[i]
        i += 1
        if item not in ('struct', 'union', 'enum'):
            left.append(item)
            continue
        tag = items[i] if i < len(items) and isinstance(items[i], str) else None
        i += tag is not None
        if i < len(items) and isinstance(items[i], tuple) and items[i][0] == '{':
            body = items[i][1]
            i += 1
            if tag:
                found.add(tag)
            if item == 'enum':
                found.update(part[0] for part in split(body, ',') if part)
            else:
                tags(body, found)
        left.append('int')  # a type
    return left


def declarator(items):
    """The name that items declare, or None."""
    if '=' in items:
        items = items[:items.index('=')]
    for i, item in enumerate(items):
        if isinstance(item, tuple) and item[0] == '(':
            inner = item[1]
            if inner[:1] == ['*']:
                return next((t for t in inner if isinstance(t, str) and NAME.match(t) and t not in KEYWORDS), None)
            return items[i - 1] if i else None
    names = [t for t in items if isinstance(t, str) and NAME.match(t)]
    return names[-1] if names else None


@functools.lru_cache(None)
def declared(source, shared=True):
    """Names of file scope, macros included; with shared=False without those that other files may use."""
    tokens = tokens_of(source)
    found = set()
    for token in tokens:
        macro = '#' in token and re.match(r'\s*#\s*define\s+(\w+)', token)
        if macro:
            found.add(macro[1])
    current = []
    for item in grouped([t for t in tokens if is_code(t)]) + [';']:
        block = isinstance(item, tuple) and item[0] == '{'
        if block and current and isinstance(current[-1], tuple) and current[-1][0] == '(' and '=' not in current:
            declaration, current = current, []  # a function
        elif item == ';':
            declaration, current = current, []
        else:
            current.append(item)
            continue
        while '__attribute__' in declaration:
            at = declaration.index('__attribute__')
            del declaration[at:at + 2]
        while len(declaration) > 2 and str(declaration[0]).isupper() and isinstance(declaration[1], tuple):
            del declaration[:2]  # a macro that makes functions
        own = {'static', 'typedef'} & {t for t in declaration if isinstance(t, str)}
        called = any(isinstance(t, tuple) and t[0] == '(' for t in declaration)
        if 'extern' in declaration or (called and not block and not own and '=' not in declaration):
            continue  # a prototype
        if declaration[:2] == ['typedef', 'struct'] and declaration[2:] == 2 * declaration[2:3]:
            continue  # a type to come
        for part in split(tags(declaration, found), ','):
            name = declarator(part) if own or shared else None
            if isinstance(name, str) and NAME.match(name):
                found.add(name)
    return {n for n in found if n not in KEYWORDS and not n.startswith('_')}


# ---- what macros take as text -------------------------------------------------------------------
AS_TEXT = {'offsetof': {1}, 'KDI_FN': {0}}  # of each macro: which arguments are pasted, printed, or members' names


def learn_macros(everything):
    """Fill AS_TEXT from all definitions, those that hand arguments on to others included."""
    macros = []
    for source in everything:
        for token in tokens_of(source):
            macro = '#' in token and re.match(r'\s*#\s*define\s+(\w+)\(([^)]*)\)(.*)', token, re.S)
            if macro:
                body = [t for t in TOKEN.findall(macro[3].replace('\\\n', ' ')) if not t.isspace()]
                macros.append((macro[1], [p.strip() for p in macro[2].split(',')], body))
    grown = True
    while grown:
        grown = False
        for name, parameters, body in macros:
            found = AS_TEXT.setdefault(name, set())
            before = len(found)
            found.update(parameters.index(p) for p in as_text(body) if p in parameters)
            grown = grown or len(found) != before


def as_text(body):
    calls = []
    for i, token in enumerate(body):
        if token == '(':
            calls.append([AS_TEXT.get(body[i - 1] if i else '', set()), 0])
        elif token == ')' and calls:
            calls.pop()
        elif token == ',' and calls:
            calls[-1][1] += 1
        elif any(call[1] in call[0] for call in calls):
            yield token
        elif i and body[i - 1] in ('#', '##', '.', '->') or body[i + 1:i + 2] == ['##']:
            yield token


# ---- the same with other names -----------------------------------------------------------------
def renamed(source, names, inside_macro=False):
    """source with names[n] for each n, but for members, and what macros take as text."""
    out, scopes, previous = [], [], ['', '', '']  # scopes: [kind, arguments taken as text, which this is, kept]
    tokens = TOKEN.findall(source)
    code = [i for i, t in enumerate(tokens) if is_code(t)]
    after = dict(zip(code, [tokens[i] for i in code[1:]] + ['']))
    for i, token in enumerate(tokens):
        directive = '#' in token and re.match(r'(\s*#\s*)(define|undef|if|elif|ifdef|ifndef)\b(.*)', token, re.S)
        if directive and not inside_macro:
            out.append(directive[1] + directive[2] + renamed(directive[3], names, True))
            continue
        if not is_code(token):
            out.append(token)
            continue
        if token in ('(', '[', '{'):
            kind, text = token, set()
            if token == '{' and any(w in ('struct', 'union') for w in previous[-2:]):
                kind = 'members'
            if token == '(':
                text = AS_TEXT.get(previous[-1], set())
            scopes.append([kind, text, 0, bool(scopes) and scopes[-1][3] or 0 in text])
        elif token in (')', ']', '}') and scopes:
            scopes.pop()
        elif token == ',' and scopes and scopes[-1][0] == '(':
            outer = len(scopes) > 1 and scopes[-2][3]
            scopes[-1][2] += 1
            scopes[-1][3] = outer or scopes[-1][2] in scopes[-1][1]
        new = token
        kinds = [scope[0] for scope in scopes[-2:]]
        if token in names and previous[-1] not in ('.', '->') and not (scopes and scopes[-1][3]):
            member = kinds[-1:] == ['members'] and after[i] in (';', ',', '[', ':') and previous[-1] != 'struct'
            pointer = kinds == ['members', '('] and previous[-1] == '*' and after[i] == ')'
            if not member and not pointer:
                new = names[token]
        out.append(new)
        previous = previous[1:] + [token]
    return ''.join(out)


def own_names(path):
    """New names for what the file at path declares; names that begin with kd are shared."""
    source = read(path)
    names = {n for n in declared(source) if not OURS.match(n) and n not in FOREIGN}
    return {n: own_name(path, n) for n in names | TWICE & declared(source, shared=False)}


TWICE = set()  # of the names that begin with kd: those that two files declare, each for something of its own


def learn_names(files):
    count = {}
    for path in files:
        for name in declared(read(path)):
            count[name] = count.get(name, 0) + 1
    TWICE.update(n for n, k in count.items() if k > 1 and OURS.match(n))


def own_name(path, name):
    room, file = path.split('/')[-2:]
    prefix = f'kdi_{room}_{file.split(".")[0]}_'
    return (prefix.upper() if name.isupper() else prefix) + name


def beside(path, wanted):
    return os.path.normpath(os.path.join(os.path.dirname(path), wanted))


def includes(path):
    return [beside(path, wanted) for wanted in re.findall(r'^\s*#include "(\S+\.h)"', read(path), re.M)]


# ---- one file after the other ------------------------------------------------------------------
class Amalgamation:
    def __init__(self):
        self.written = set()  # (header, conditions under which it stands there)
        self.system = {(): []}  # conditions: includes of the system's headers
        self.names = {}  # of a header: its own names and those of what it includes
        self.table_names, self.table_macros = set(), set()  # of the kernels

    def names_of(self, path):
        """What is renamed in this file: its own names and those of the headers that it includes."""
        if path in self.names:
            return self.names[path]
        names, own, sources_of = dict(FEATURES) if path.startswith((ISA, AMX)) else {}, {}, [path]
        self.names[path] = names
        for source in sources_of:  # the file and its templates
            own.update({n: own_name(path, n) for n in own_names(source)})
            for header in includes(source):
                if header in TEMPLATES:
                    sources_of.append(header)
                else:
                    names.update(self.names_of(header))
        names.update(own)
        if path.startswith((ISA, AMX)):
            shared = declared(read(path)) if path.endswith('.h') else set()  # those of .c have the table's name
            defines = {m for source in sources_of for m in re.findall(r'^\s*#\s*define\s+(\w+)', read(source), re.M)}
            self.table_macros.update(own.get(n, n) for n in defines)
            self.table_names.update(own.get(n, n) for n in set(own) | shared if n not in defines)
        return names

    def expanded(self, path, names=None, conditions=()):
        """The text of a file, its includes in it, under new names."""
        if names is None:
            names = self.names_of(path)
        source, out, plain = read(path), [], ''
        guard = re.search(r'^#ifndef (\w+_H)$', source, re.M)
        for token in tokens_of(source):
            line = token.strip()
            if not line.startswith('#'):
                plain += token
                continue
            if re.match(r'#\s*if', line):
                conditions += (line,) if not (guard and guard[1] in line) else ('',)
            elif re.match(r'#\s*(else|elif)', line):
                conditions = conditions[:-1] + (conditions[-1] + line,)
            elif re.match(r'#\s*endif', line):
                conditions = conditions[:-1]
            wanted = re.match(r'#\s*include\s+(\S+)', line)
            if not wanted:
                plain += token
                continue
            out.append(renamed(plain, names))
            plain = ''
            out.append(self.included(path, wanted[1], names, conditions))
        out.append(renamed(plain, names))
        return ''.join(out)

    def included(self, path, wanted, names, conditions):
        under = tuple(c for c in conditions if c)
        if wanted.startswith('<kd/'):
            return ''
        if wanted == '<jsmn.h>':
            return '#define JSMN_STATIC\n' + read(jsmn_path())
        if wanted[0] == '<' and path.startswith((ISA, AMX)):
            return ''  # at the top
        if wanted[0] == '<':
            if not any('KD_EDGE' in c for c in under):  # what the edge's kernels want is at the top
                self.system.setdefault(under, []).append(f'#include {wanted}\n')
            return ''
        header = beside(path, wanted.strip('"'))
        if header in DECLARED:
            return ''
        if header in TEMPLATES:
            return without_guard(self.expanded(header, names))
        if header.endswith('.def'):
            return renamed(read(header), names)
        if (header, ()) in self.written or (header, under) in self.written:
            return ''
        self.written.add((header, under))
        return self.expanded(header, None, conditions)

    def system_includes(self):
        always = sorted(set(self.system.pop(())))
        text = ''.join(always)
        for under, wanted in sorted(self.system.items()):
            wanted = [line for line in dict.fromkeys(wanted) if line not in always]  # jpeglib.h before jerror.h
            if wanted:
                text += ''.join(f'{c}\n' for c in under) + ''.join(wanted) + '#endif\n' * len(under)
        return text

    def file(self, path):
        return f'\n/* ==== {path} ==== */\n' + self.expanded(path)


def without_guard(text):
    text = re.sub(r'^#ifndef \w+_H\n#define \w+_H\n', '', text, flags=re.M)
    return re.sub(r'#endif\s*\Z', '', text)


def like_kernel(text):
    return (f'#if KDI_GCC\n#pragma GCC push_options\n#pragma GCC optimize({KERNEL_OPTIONS})\n#endif\n{text}'
            '#if KDI_GCC\n#pragma GCC pop_options\n#endif\n')


def jsmn_path():
    return next((p for p in ('build/include/jsmn.h', '/usr/include/jsmn.h') if os.path.exists(p)), '/usr/include/jsmn.h')


def sources(folder):
    return [f'{folder}/{f}' for f in sorted(os.listdir(folder)) if f.endswith('.c')]


# ---- kd.h and kd.c -----------------------------------------------------------------------------
def public_header(version):
    done, out = set(), []

    def add(name):
        if name in done:
            return
        done.add(name)
        source = read('include/kd/' + name)
        for wanted in re.findall(r'^#include <kd/(\S+)>', source, re.M):
            add(wanted)
        if name != 'kd.h':
            out.append(f'\n/* ==== kd/{name} ==== */\n' + re.sub(r'^#include <kd/\S+>\n', '', source, flags=re.M))

    add('kd.h')
    return (f'/* SPDX-License-' f'Identifier: MIT\n * kd.h: all of libkd {version}, made of the headers in include/kd. '
            'kd.c is the library. */\n' + ''.join(out))


def library(version, here):
    files = [f'{folder}/{f}' for folder, _, found in os.walk('lib') for f in found if f.endswith(('.c', '.h'))]
    learn_macros(read(path) for path in sorted(files))
    learn_names(path for path in files if not path.startswith((ISA, AMX)))
    all_in_one = Amalgamation()
    ordinary = []
    for room in sorted(os.listdir('lib')):
        if not os.path.isdir('lib/' + room):
            continue
        for path in sources('lib/' + room):
            if path.startswith(ONNX) and path != ONNX + 'onnx.c':
                continue
            text = all_in_one.file(path)
            ordinary.append(like_kernel(text) if path in LOOPS else text)
    headers = ''.join(all_in_one.included(ISA + '/x.c', f'"{h}"', {}, ()) for h in ('vectors.h', 'vec_math.h'))
    isa = ''.join(all_in_one.file(path) for path in sources(ISA))
    amx = ''.join(all_in_one.file(path) for path in sources(AMX))
    tables = sorted(all_in_one.table_names)
    macros = sorted(all_in_one.table_macros)
    text = read(here + '/amalgamation.c.in')
    parts = {'VERSION': version, 'KERNEL': KERNEL_OPTIONS, 'SYSTEM': all_in_one.system_includes(),
             'ORDINARY': ''.join(ordinary), 'VECTORS': headers, 'ISA': isa, 'AMX': amx,
             'NAMES': '\n'.join(f'#define {n} KDI_OF_TABLE({n})' for n in tables),
             'UNNAMES': '\n'.join(f'#undef {n}' for n in macros)}
    return re.sub(r'@([A-Z]+)@', lambda m: parts[m[1]], text)


def write(path, text):
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def main():
    folder, version = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    write(folder + '/kd.h', public_header(version))
    write(folder + '/kd.c', library(version, os.path.dirname(os.path.abspath(__file__))))


main()
