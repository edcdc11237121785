import ast,pathlib,sys,collections
root=pathlib.Path('.')
mods=set()
for p in (root/'src').rglob('*.py'):
    m='.'.join(p.relative_to('src').with_suffix('').parts); mods.add(m.removesuffix('.__init__'))
for d in ('src','tests','benchmarks','examples','docs','.ci'):
    for p in sorted((root/d).rglob('*.py')):
        t=ast.parse(p.read_text())
        for n in ast.walk(t):
            if isinstance(n,ast.ImportFrom):
                for a in n.names:
                    if n.module and f'{n.module}.{a.name}' in mods or n.level: print(p,'|',ast.unparse(n)); 
            elif isinstance(n,ast.Import):
                for a in n.names:
                    if a.name.startswith('dermlens'): print(p,'|',ast.unparse(n))
