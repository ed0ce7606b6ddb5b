package lighter_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityTable sees that docs/security.md names a test for every attack in
// testdata/security/rows.txt, and every fuzzer that there is; and that there are those that it names.
func TestSecurityTable(t *testing.T) {
	doc, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("testdata/security/rows.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(doc)) {
		if f := strings.Split(strings.TrimSpace(line), "|"); len(f) == 5 {
			rows[strings.TrimSpace(f[1])] = strings.TrimSpace(f[3])
		}
	}
	for key := range strings.Lines(string(list)) {
		if key = strings.TrimSpace(key); !strings.Contains(rows[key], "`") {
			t.Errorf("docs/security.md: no test is named for %s", key)
		}
	}
	named := regexp.MustCompile("`(?:stories/([a-z_0-9]+)|([a-z/0-9]+)\\.((?:Test|Fuzz)\\w+))`")
	seen := map[string]bool{}
	for _, m := range named.FindAllStringSubmatch(string(doc), -1) {
		if m[1] != "" {
			if _, err := os.Stat(filepath.Join("stories/testdata", m[1]+".txtar")); err != nil {
				t.Errorf("docs/security.md: %v", err)
			}
			continue
		}
		seen[m[2]+"."+m[3]] = true
		if !hasTest(m[2], m[3]) {
			t.Errorf("docs/security.md: package %s has no %s", m[2], m[3])
		}
	}
	for _, fuzzer := range fuzzers(t) {
		if !seen[fuzzer] {
			t.Errorf("docs/security.md: %s is not named", fuzzer)
		}
	}
}

func hasTest(dir, name string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, path := range files {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// fuzzers are all of the tree, as FOLDER.NAME.
func fuzzers(t *testing.T) (all []string) {
	decl := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	for _, deep := range []string{"*", "*/*", "*/*/*"} {
		files, err := filepath.Glob(deep + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range decl.FindAllStringSubmatch(string(text), -1) {
				all = append(all, filepath.Dir(path)+"."+m[1])
			}
		}
	}
	if len(all) == 0 {
		t.Error("the tree has no fuzzer")
	}
	return all
}
