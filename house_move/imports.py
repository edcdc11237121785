import importlib,sys,pathlib,traceback
bad=0
for top,root in (("dermlens","src"),("paper",".")):
    for p in sorted((pathlib.Path(root)/top).rglob("*.py")):
        m=".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if m.endswith("__main__"): continue
        try: importlib.import_module(m)
        except Exception as e:
            bad+=1; print(m, type(e).__name__, str(e)[:160]) if bad<6 else None
            if "-v" in sys.argv: traceback.print_exc()
print("bad:",bad)
