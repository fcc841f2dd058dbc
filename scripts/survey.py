#!/usr/bin/env python3
"""Counts what the tree costs: lines by folder, the price of three usual changes, circles between files.

    scripts/survey.py                     all of it; fails where a crate has a circle
    scripts/survey.py circles [CRATE ..]  only the circles of these crates; fails where there is one
    scripts/survey.py lines [DEPTH]       only the lines, by folders of this depth
    scripts/survey.py price               only the prices

What is read is the source: names are resolved through `use`, `pub use`, globs and inline paths, across the
crates of the workspace, to the file that defines them. A re-export is no use of what it names, and `mod` is
none of the module; test code (`#[cfg(test)]`, `tests.rs`, folders `tests`) makes no arrow. What is not seen
are methods called on values, so a file can need another that it does not name.
"""

import re
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATES = {"ir": "baton_ir", "macros": "baton_macros", "codegen": "baton_codegen", "kernels-generated": "baton_kernels",
          "runtime": "baton_runtime", "tune": "baton_tune", "emulator": "baton_emulator", "retrieval": "baton_retrieval",
          "data": "baton_data", "config": "baton_config", "tasks": "baton_tasks", "weights": "baton_weights", "train": "baton_train", "report": "baton_report", "baton": "baton", "cli": "baton_cli", "python": "baton_python"}
FOLDERS = [*CRATES, "tests", "benches", "scripts", "docs"]
SKIPPED = {"target", "golden", "data", "ptx", "results", "__pycache__"}

TOKEN = re.compile(r"[A-Za-z_]\w*|::|=>|->|\S")
ITEMS = {"fn", "struct", "enum", "trait", "type", "const", "static", "union"}
WORD = re.compile(r"[A-Za-z_]\w*$")


def blank(text):
    """The text with comments, strings and characters as spaces; lines stay."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|\bb?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\[^\n]{1,8}?|[^\\\n])\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def without_tests(code):
    """The code with its `#[cfg(test)]` items as spaces."""
    at = 0
    while (found := re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]").search(code, at)) is not None:
        end, depth = found.end(), 0
        while end < len(code):
            mark = code[end]
            depth += (mark in "{([") - (mark in "})]")
            end += 1
            if depth == 0 and (mark == ";" or mark == "}"):
                break
        code = code[: found.start()] + re.sub(r"[^\n]", " ", code[found.start():end]) + code[end:]
        at = end
    return code


def is_test(path):
    parts = path.relative_to(ROOT).parts
    return "tests" in parts or path.name in ("tests.rs",) or path.name.startswith("test_")


class Module:
    """A module: a file, or a part of one."""

    def __init__(self, file, parent, name):
        self.file, self.parent, self.name = file, parent, name
        self.children, self.items, self.enums = {}, set(), {}
        self.named, self.globs = {}, []  # imports: name -> path; paths whose every name is imported
        self.uses, self.exported, self.words = [], set(), []

    def root(self):
        return self if self.parent is None else self.parent.root()


class Tree:
    """Every module of the workspace."""

    def __init__(self):
        self.crates, self.modules = {}, []
        for folder, name in CRATES.items():
            for root in ("lib.rs", "main.rs"):
                file = ROOT / folder / "src" / root
                if file.exists():
                    module = self.read(file, None, name)
                    self.crates.setdefault(name, module)
                    module.crate = folder
        for module in self.modules:
            module.crate = module.root().crate

    def read(self, file, parent, name):
        module = Module(file, parent, name)
        self.modules.append(module)
        tokens = TOKEN.findall(without_tests(blank(file.read_text())))
        self.parse(module, tokens, 0)
        return module

    def parse(self, module, tokens, at):
        """Reads the tokens of a module up to the brace that ends it."""
        depth, start = 0, at
        while at < len(tokens):
            token, after = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
            if token == "{":
                depth += 1
            elif token == "}":
                depth -= 1
                if depth < 0:
                    return at + 1
            elif token == "mod" and WORD.match(after) and tokens[at + 2] in (";", "{") and depth == 0:
                if tokens[at + 2] == "{":
                    child = Module(module.file, module, after)
                    self.modules.append(child)
                    module.children[after] = child
                    at = self.parse(child, tokens, at + 3)
                else:
                    self.child(module, after)
                    at += 3
                continue
            elif token == "use" and (at == start or tokens[at - 1] in (";", "}", "{", "]", ")", "pub")):
                end = tokens.index(";", at)
                exported = tokens[at - 1] in ("pub", ")") and depth == 0
                self.use(module, [], tokens[at + 1:end], exported)
                at = end + 1
                continue
            elif token in ITEMS and WORD.match(after) and depth == 0:
                name = tokens[at + 2] if after in ITEMS else after
                module.items.add(name)
                if token == "enum":
                    module.enums[name] = variants(tokens, at + 2)
            elif token == "macro_rules" and after == "!":
                module.items.add(tokens[at + 2])
            if WORD.match(token):
                path = [token]
                while at + 2 < len(tokens) and tokens[at + 1] == "::" and WORD.match(tokens[at + 2]):
                    path.append(tokens[at + 2])
                    at += 2
                module.words.append(path)
            at += 1
        return at

    def child(self, module, name):
        own = module.file.name in ("lib.rs", "main.rs", "mod.rs")
        folder = module.file.parent if own else module.file.with_suffix("")
        chain, up = [], module
        while up.parent is not None and up.parent.file == module.file:
            chain, up = [up.name, *chain], up.parent
        folder = folder.joinpath(*chain)
        for file in (folder / f"{name}.rs", folder / name / "mod.rs"):
            if file.exists() and not is_test(file):
                module.children[name] = self.read(file, module, name)

    def use(self, module, head, tokens, exported):
        """One tree of `use`."""
        path = list(head)
        at = 0
        while at < len(tokens):
            token = tokens[at]
            if token == "{":
                depth, begin = 1, at + 1
                for end in range(at + 1, len(tokens)):
                    depth += (tokens[end] == "{") - (tokens[end] == "}")
                    if (tokens[end] == "," and depth == 1) or depth == 0:
                        if end > begin:
                            self.use(module, path, tokens[begin:end], exported)
                        begin = end + 1
                return
            if token == "*":
                module.globs.append((path, exported))
                return
            if token == "as":
                name = tokens[at + 1]
                break
            if token != "::":
                path.append(token)
            at += 1
        else:
            name = path[-1]
        if path[-1] == "self":
            path = path[:-1]
            name = path[-1] if name == "self" else name
        module.named[name] = path
        if exported:
            module.exported.add(name)
        else:
            module.uses.append(path)

    def resolve(self, module, path, seen=()):
        """(module, item or None, rest) that a path means, or None where it lies outside."""
        key = (id(module), tuple(path))
        if key in seen or not path:
            return None
        seen = (*seen, key)
        first, at = path[0], 0
        if first == "crate":
            here, at = module.root(), 1
        elif first in ("self", "super"):
            here = module
            while at < len(path) and path[at] in ("self", "super"):
                here = here.parent if path[at] == "super" else here
                at += 1
                if here is None:
                    return None
        elif first in module.children or first in module.items or first in module.named:
            here = module
        elif first in self.crates:
            here, at = self.crates[first], 1
        else:
            here = None
            for glob, _ in module.globs:
                target = self.resolve(module, glob, seen)
                if target and target[1] is None and first != "self":
                    inner = target[0]
                    if first in inner.children or first in inner.items or first in inner.named:
                        here = inner
                        break
                elif target and first in target[0].enums.get(target[1], ()):
                    return target[0], target[1], [first]
            if here is None:
                return None
        while at < len(path):
            name = path[at]
            if name in here.children:
                here, at = here.children[name], at + 1
                continue
            if name in here.items:
                return here, name, path[at + 1:]
            if name in here.named and (here.named[name][0] == name or len(seen) > 32):
                return None  # a crate outside
            if name in here.named:
                return self.resolve(here, here.named[name] + path[at + 1:], seen)
            for glob, _ in here.globs:
                target = self.resolve(here, glob, seen)
                if target and target[1] is None and target[0] is not here:
                    found = self.resolve(target[0], ["self", *path[at:]], seen)
                    if found and (found[1] is None or found[1] in found[0].items):
                        return found
            return here, name, path[at + 1:]  # made by a macro
        return here, None, []

    def paths(self, module):
        """Every path that a module uses."""
        yield from module.uses
        for path in module.words:
            if len(path) > 1 or path[0] in module.exported:
                yield path
        for glob, exported in module.globs:
            target = self.resolve(module, glob)
            if not exported and target and target[1] is None:
                yield [*glob, "*"]

    def arrows(self, crate):
        """File to file, each with the names that make the arrow."""
        found = {}
        for module in (m for m in self.modules if m.crate == crate):
            for path in self.paths(module):
                target = self.resolve(module, path)
                if target is None or target[1] is None or target[0].crate != crate:
                    continue
                if target[0].file != module.file:
                    found.setdefault(module.file, {}).setdefault(target[0].file, set()).add(target[1])
        return found


def variants(tokens, at):
    """The names of the variants of an enum whose body begins after `at`."""
    at = tokens.index("{", at) + 1
    found, depth = [], 0
    while depth >= 0 and at < len(tokens):
        token = tokens[at]
        if depth == 0 and WORD.match(token) and tokens[at - 1] in ("{", ",", "]"):
            found.append(token)
        depth += (token in "{([") - (token in "})]")
        at += 1
    return found


def components(arrows):
    """Strongly connected components of more than one file (Tarjan)."""
    index, low, stack, found = {}, {}, [], []
    sys.setrecursionlimit(10_000)

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(arrows.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            part = [stack.pop()]
            while part[-1] != node:
                part.append(stack.pop())
            if len(part) > 1:
                found.append(sorted(part))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return found


def short(file):
    return str(file.relative_to(ROOT))


def circles(tree, crates):
    """Prints the circles of crates; their number."""
    total = 0
    for crate in crates:
        arrows = tree.arrows(crate)
        parts = components(arrows)
        total += len(parts)
        print(f"{crate}: " + (f"{len(parts)} circle{'s' * (len(parts) > 1)} of files" if parts else "no circle"))
        for part in parts:
            print(f"  {len(part)} files")
            for file in part:
                for target in part:
                    if names := arrows.get(file, {}).get(target):
                        print(f"    {short(file)} -> {short(target)}: {', '.join(sorted(names))}")
    return total


def price(tree):
    """Prints the files that three usual changes touch."""
    def naming(file, enum):
        """Files to the variants of an enum that they name."""
        home = next(m for m in tree.modules if m.file == ROOT / file)
        tokens = TOKEN.findall(without_tests(blank(home.file.read_text())))
        # Written as an enum, or as what a macro makes one of.
        body = next(i for i in range(len(tokens)) if tokens[i:i + 2] == [enum, "{"] and tokens[i - 1] != "impl")
        all_of = set(variants(tokens, body))
        found = {home.file: set(all_of)}
        for module in tree.modules:
            for path in [*tree.paths(module), *([w for w in module.words if w[0] in all_of])]:
                target = tree.resolve(module, path)
                if target and target[0] is home and target[1] == enum and target[2][:1]:
                    found.setdefault(module.file, set()).update(all_of & {target[2][0]})
                if path[0] == "Self" and module is home and path[-1] in all_of:
                    found[module.file].add(path[-1])
        return len(all_of), {f: names for f, names in found.items() if names}

    for what, file, enum in (("a pointwise function", "ir/src/recurrence/expr.rs", "UnaryFn"),
                             ("a tile op", "ir/src/tile/mod.rs", "Op")):
        count, files = naming(file, enum)
        # A new variant goes where every variant is told apart; where only some are, a file has a use for those.
        every = sorted(f for f, names in files.items() if len(names) > count * 2 / 3)
        some = sorted(f for f in files if f not in every)
        print(f"{what}: {len(every)} files tell the {count} variants of `{enum}` apart ({len(some)} more name some)")
        for f in every:
            print(f"    {short(f)}")
        for f in some:
            print(f"      some: {short(f)}: {', '.join(sorted(files[f]))}")
    for back_end in sorted(p for p in (ROOT / "codegen/src/backend").iterdir() if p.is_dir()):
        outside = {}
        for module in tree.modules:
            if back_end in module.file.parents:
                continue
            for path in tree.paths(module):
                target = tree.resolve(module, path)
                if target and target[1] and back_end in target[0].file.parents:
                    outside.setdefault(module.file, set()).add(target[1])
        print(f"a back end: {len(outside)} files outside of {short(back_end)} name something in it")
        for f, names in sorted(outside.items()):
            print(f"    {short(f)}: {', '.join(sorted(names))}")


def lines(depth):
    """Prints non-blank lines by folder."""
    counts = {}
    for folder in [*FOLDERS, "."]:
        for file in sorted((ROOT / folder).glob("*.md") if folder == "." else (ROOT / folder).rglob("*")):
            inside = file.relative_to(ROOT).parts
            if file.suffix not in (".rs", ".py", ".sh", ".md") or SKIPPED & set(inside[1:]):
                continue
            row = counts.setdefault("/".join(inside[:-1][:depth]) or ".", [0, 0, 0, 0])
            text = file.read_text()
            if file.suffix == ".md":
                row[3] += sum(bool(line.strip()) for line in text.splitlines())
                continue
            code = blank(text) if file.suffix == ".rs" else text
            kept = without_tests(code) if file.suffix == ".rs" else text
            for said, seen, counted in zip(text.splitlines(), code.splitlines(), kept.splitlines()):
                if not said.strip():
                    continue
                comment = said.strip().startswith(("//", "#!", "# "))
                test = is_test(file) or inside[0] == "tests" or (bool(seen.strip()) and not counted.strip())
                row[1 if test else 2 if comment else 0] += 1
    counts = dict(sorted(counts.items()))
    rows = [*counts.items(), ("all", [sum(c) for c in zip(*counts.values())])]
    wide = max(len(name) for name, _ in rows)
    print(f"{'non-blank lines':<{wide}}{'code':>9}{'tests':>9}{'comments':>9}{'docs':>9}")
    for name, row in rows:
        print(f"{name:<{wide}}" + "".join(f"{n:>9}" for n in row))


def main():
    what, given = (sys.argv[1] if len(sys.argv) > 1 else "all"), sys.argv[2:]
    if what == "lines":
        return lines(int(given[0]) if given else 1)
    if what not in ("all", "circles", "price"):
        sys.exit(__doc__)
    if unknown := [crate for crate in given if crate not in CRATES]:
        sys.exit(f"survey: no crate lies in {', '.join(unknown)}; expected some of {', '.join(CRATES)}")
    tree = Tree()
    if what == "price":
        return price(tree)
    if what == "circles":
        sys.exit(1 if circles(tree, given or CRATES) else 0)
    lines(1)
    print()
    price(tree)
    print()
    found = circles(tree, CRATES)
    sys.exit(f"survey: {found} circles of files, expected none" if found else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
