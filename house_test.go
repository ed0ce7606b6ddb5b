// The rules of the house, as a test: who may import whom, and how big a room may grow.
package lighter_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "lighter"

// floors lists the packages from the ground up. A package may import packages of
// lower floors only: never its own floor, never a higher one. It is a statement of
// policy; a build that breaks it is the thing to change.
var floors = []string{
	`api oci task netspec page docs`,
	`linux/fs linux/cgroup linux/proc linux/seccomp linux/net`,
	`store runtime/init policy`,
	`store/content store/archive store/logfile registry runtime`,
	`store/layer store/tree keeper warden runtime/oci`,
	`engine/event`,
	`engine/image engine/volume engine/dns engine/proxy engine/logship`,
	`engine/network engine/image/imagetest`,
	`engine/container`,
	`engine/build`,
	`engine/buildkit`,
	`client server kernel page/chromium`,
	`cli client/secure dashboard`,
	`cli/insight hub/hubtest`,
	`hub/meta hub/blob`, // the hub, which knows no engine: it stands beside all of the above
	`hub/account`,
	`hub/distribution hub/search hub/layers`,
	`hub/web`,
	`hub`,
	`cmd/lighter cmd/lighterd cmd/lighterhub bench docs/picture`,
}

// never forbids imports that the floors alone would allow. "x/*" stands for x and
// every package below it.
var never = map[string]string{
	"engine/*":      "linux/* runtime/* keeper", // what needs root is handed in by cmd/lighterd
	"server":        "linux/* runtime/* keeper store/*",
	"kernel":        "keeper",
	"client/*":      "kernel oci task engine/* linux/* runtime/* keeper store/*",
	"dashboard":     "task netspec engine/* linux/* runtime/* keeper kernel store/* server",
	"cli":           "task netspec engine/* linux/* runtime/* keeper kernel store/* server",
	"store/content": "linux/*",
	"hub/*":         "task netspec linux/* runtime/* keeper kernel store/* engine/* client server cli",
}

// Limits on the size of a room.
const (
	maxFile    = 500 // lines
	maxFunc    = 70  // lines
	maxIface   = 8   // methods
	maxMethods = 30  // on one type
	maxFanOut  = 14  // packages of ours that one package imports
)

func TestHouse(t *testing.T) {
	floor := map[string]int{}
	for i, names := range floors {
		for name := range strings.FieldsSeq(names) {
			floor[name] = i
		}
	}
	methods, imports := map[string]int{}, map[string][]string{}
	walk(t, func(pkg, path string, fset *token.FileSet, f *ast.File) {
		if _, ok := floor[pkg]; !ok {
			t.Errorf("%s: package %s has no floor", path, pkg)
		}
		for _, spec := range f.Imports {
			to, _ := strconv.Unquote(spec.Path.Value)
			room, ours := strings.CutPrefix(to, module+"/")
			switch {
			case !ours && (to == "syscall" || to == "golang.org/x/sys/unix") && !strings.HasPrefix(pkg, "linux/"):
				t.Errorf("%s: only linux/* talks to the kernel", path)
			case ours && (floor[room] >= floor[pkg] || forbidden(pkg, room)):
				t.Errorf("%s: %s must not import %s", path, pkg, room)
			case ours && !slices.Contains(imports[pkg], room):
				imports[pkg] = append(imports[pkg], room)
			}
		}
		lines := func(n ast.Node) int { return fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1 }
		if n := fset.File(f.Pos()).LineCount(); n > maxFile {
			t.Errorf("%s: %d lines, at most %d", path, n, maxFile)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if lines(n) > maxFunc {
					t.Errorf("%s: %s has %d lines, at most %d", path, n.Name.Name, lines(n), maxFunc)
				}
				if n.Recv != nil {
					methods[pkg+"."+receiver(n)]++
				} else if n.Name.Name == "init" {
					t.Errorf("%s: no func init: every container start pays for it", path)
				}
			case *ast.InterfaceType:
				if c := n.Methods.NumFields(); c > maxIface {
					t.Errorf("%s: interface of %d methods, at most %d", path, c, maxIface)
				}
			}
			return true
		})
	})
	for typ, n := range methods {
		if n > maxMethods {
			t.Errorf("%s has %d methods, at most %d: it is becoming the Daemon", typ, n, maxMethods)
		}
	}
	for pkg, rooms := range imports {
		if !strings.HasPrefix(pkg, "cmd/") && len(rooms) > maxFanOut {
			t.Errorf("%s imports %d rooms, at most %d", pkg, len(rooms), maxFanOut)
		}
	}
}

// walk visits every Go file of the module but its tests.
func walk(t *testing.T, visit func(pkg, path string, fset *token.FileSet, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(d.Name(), ".") && path != "."
		switch {
		case err != nil || d.IsDir() && (hidden || d.Name() == "testdata"):
			return cmp.Or(err, fs.SkipDir)
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err == nil {
			visit(filepath.ToSlash(filepath.Dir(path)), path, fset, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func forbidden(from, to string) bool {
	for who, list := range never {
		if matches(who, from) && slices.ContainsFunc(strings.Fields(list), func(p string) bool { return matches(p, to) }) {
			return true
		}
	}
	return false
}

func matches(pattern, pkg string) bool {
	dir, below := strings.CutSuffix(pattern, "/*")
	return pkg == dir || below && strings.HasPrefix(pkg, dir+"/")
}

func receiver(f *ast.FuncDecl) string {
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	return typ.(*ast.Ident).Name
}
