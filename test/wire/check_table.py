#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Does rfc9293.md say the truth? Its rows against the `proves:` lines of the scripts, both ways.

Rows of the first table: | id | requirement | proofs | remark |. A proof is a script (folder/name) or a function of a
unit test (test/unit/....c:function). Without a proof that holds today a row must say "waits for ...", or belong to
those that need none. The second table names other RFCs; of its proofs the existence is checked.
"""
import glob
import os
import re
import sys

IDS = ['MUST-%d' % i for i in range(1, 70)] + ['SHLD-%d' % i for i in range(1, 32)] + \
      ['MAY-%d' % i for i in range(1, 19)] + ['REC-1']
# Without a proof: IP source routes (left out), what is asked of applications, and what one MAY do and we do not.
LEFT_OUT = {'MUST-51', 'MUST-52', 'MUST-53', 'SHLD-24'}
OF_APPLICATIONS = {'SHLD-13', 'SHLD-23'}


def scripts(wire):
    """name -> (claimed ids, expected to fail)"""
    found = {}
    for path in glob.glob(os.path.join(wire, '*', '*.wire')):
        name = os.path.relpath(path, wire)[:-len('.wire')]
        if name.startswith('selftest/'):
            continue
        with open(path, encoding='utf-8') as f:
            text = f.read()
        ids = [i for line in re.findall(r'^proves:(.*)$', text, re.M) for i in line.split()]
        found[name] = (ids, re.search(r'^expect-fail:', text, re.M) is not None)
    return found


def rows(path):
    """(id, requirement, proofs, remark) of all table rows"""
    with open(path, encoding='utf-8') as f:
        for line in f:
            if line.startswith('|') and not re.match(r'\|[-| ]*\|$|\| id \|', line):
                cells = [c.strip() for c in line.strip().strip('|').split('|')]
                yield [cells[0], cells[1] if len(cells) > 1 else '', cells[2] if len(cells) > 2 else '',
                       cells[3] if len(cells) > 3 else '']


def unit_exists(root, proof):
    path, _, function = proof.partition(':')
    path = os.path.join(root, path)
    if not os.path.isfile(path) or not function:
        return False
    with open(path, encoding='utf-8') as f:
        return re.search(r'\b%s\(' % re.escape(function), f.read()) is not None


def check(root):
    wire = os.path.join(root, 'test/wire')
    have, wrong, seen = scripts(wire), [], {}
    for ident, what, proofs, remark in rows(os.path.join(wire, 'rfc9293.md')):
        ours = ident in IDS
        if ident in seen:
            wrong.append('%s: two rows' % ident)
        seen[ident] = proofs = [p for p in re.split(r'[,\s]+', proofs) if p]
        if not what:
            wrong.append('%s: says nothing' % ident)
        holds = False
        for p in proofs:
            if p.startswith('test/'):
                holds = True
                if not unit_exists(root, p):
                    wrong.append('%s: no such test: %s' % (ident, p))
            elif p not in have:
                wrong.append('%s: no such script: %s' % (ident, p))
            else:
                holds = holds or not have[p][1]
                if ours and ident not in have[p][0]:
                    wrong.append('%s: %s does not claim it' % (ident, p))
        if holds or remark.startswith('waits for '):
            continue
        if not (ident in LEFT_OUT and remark.startswith('left out') or
                ident in OF_APPLICATIONS and remark.startswith('asked of applications') or
                ident.startswith('MAY-') and remark.startswith('not done')):
            wrong.append('%s: nothing proves it' % ident)
    wrong += ['%s: no row' % i for i in IDS if i not in seen]
    for name, (ids, _) in sorted(have.items()):
        for i in ids:
            if i not in IDS:
                wrong.append('%s claims %s, which does not exist' % (name, i))
            elif name not in seen.get(i, []):
                wrong.append('%s claims %s, whose row does not name it' % (name, i))
    return wrong, len(seen)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), '../..')
    wrong, n = check(root)
    for w in wrong:
        print(w)
    print('%d rows, %d faults' % (n, len(wrong)))
    return 1 if wrong or n < len(IDS) else 0


if __name__ == '__main__':
    sys.exit(main())
