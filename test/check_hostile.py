#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Does hostile.md name tests that exist, and does it name all that were written for it?"""
import glob
import os
import re
import sys


def read(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def rows(text):
    """(row, proofs, remark) of all table rows"""
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip('|').split('|')]
        if line.startswith('|') and cells[0].isdigit():
            yield int(cells[0]), cells[-2].split(), cells[-1]


def exists(root, proof, states):
    if proof == 'matrix':
        return True
    if proof.startswith('matrix:'):
        return proof[len('matrix:'):] in states
    if not proof.startswith('test/'):
        path = os.path.join(root, 'test/wire', proof + '.wire')
        # What is expected to fail proves nothing.
        return os.path.isfile(path) and not re.search(r'^expect-fail:', read(path), re.M)
    path, _, function = proof.partition(':')
    path = os.path.join(root, path)
    # Listed in main(), by cmocka's macro or a short form of it.
    return os.path.isfile(path) and re.search(r'\b(cmocka_unit_test\w*|T)\(%s\b' % re.escape(function), read(path))


def written(root):
    """All that stands in the folders of this table."""
    for path in glob.glob(os.path.join(root, 'test/wire/attack/*.wire')):
        yield 'attack/' + os.path.basename(path)[:-len('.wire')]
    for path in glob.glob(os.path.join(root, 'test/unit/hostile/*.c')):
        for function in re.findall(r'cmocka_unit_test\((\w+)\)', read(path)):
            yield '%s:%s' % (os.path.relpath(path, root), function)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), '..')
    states = set(re.findall(r'\{"(\w+)", \w+, (?:true|false)\}', read(os.path.join(root, 'test/wire/matrix/states.c'))))
    wrong, named, seen = [], set(), set()
    for row, proofs, remark in rows(read(os.path.join(root, 'test/hostile.md'))):
        if row in seen:
            wrong.append('row %d stands twice' % row)
        seen.add(row)
        named.update(proofs)
        wrong += ['row %d: no such test: %s' % (row, p) for p in proofs if not exists(root, p, states)]
        if not proofs and not remark.startswith('waits for '):
            wrong.append('row %d: nothing proves it' % row)
    wrong += ['row %d is missing' % r for r in range(1, 38) if r not in seen]
    wrong += ['%s stands in no row' % w for w in sorted(written(root)) if w not in named]
    for w in wrong:
        print(w)
    print('%d rows, %d proofs, %d faults' % (len(seen), len(named), len(wrong)))
    return 1 if wrong or not states else 0


if __name__ == '__main__':
    sys.exit(main())
