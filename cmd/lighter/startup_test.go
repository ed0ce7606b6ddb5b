package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// heavy lists packages that must not come into the program, with the reason. A
// trailing /... stands for all below.
var heavy = map[string]string{
	"net/http":                           "client speaks HTTP by hand: two goroutines a connection and 50 pages less",
	"crypto/tls":                         "0.2 ms of tables and pages; lighter becomes lighterd for TLS (whole)",
	"html/template":                      "no HTML here",
	"log":                                "messages go to stderr as they are",
	"log/slog":                           "messages go to stderr as they are",
	"testing":                            "tests only",
	"go/...":                             "no Go sources here",
	"lighter/engine/...":                 "the engine is lighterd's",
	"lighter/server":                     "the engine is lighterd's",
	"lighter/kernel":                     "the engine is lighterd's",
	"lighter/linux/net":                  "networks are lighterd's",
	"lighter/registry":                   "registries are lighterd's",
	"lighter/hub/...":                    "the hub is lighterhub's",
	"modernc.org/...":                    "the hub's database is lighterhub's",
	"github.com/fluent/...":              "logs are shipped by lighterd",
	"lighter/store/layer":                "images are lighterd's",
	"lighter/store/archive":              "images are lighterd's",
	"github.com/docker/cli/...":          "ours instead",
	"github.com/docker/docker/...":       "ours instead",
	"github.com/distribution/...":        "0.5 ms of regular expressions",
	"github.com/moby/buildkit/...":       "builds are lighterd's",
	"google.golang.org/...":              "no gRPC here",
	"github.com/klauspost/compress/zstd": "tables of 1 MB; images are lighterd's",
}

func TestNothingHeavyIsLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		for bad, why := range heavy {
			below, all := strings.CutSuffix(bad, "/...")
			if pkg == bad || all && (pkg == below || strings.HasPrefix(pkg, below+"/")) {
				t.Errorf("%s is linked: %s", pkg, why)
			}
		}
	}
}

// The bounds on what the packages' initialisation may cost before main. The times are
// a third of these on a quiet machine; memory does not depend on the machine.
const (
	maxInitBytes  = 120_000
	maxInitAllocs = 500
	maxInitMillis = 2.0
)

func TestStartUp(t *testing.T) {
	program := filepath.Join(t.TempDir(), "lighter")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	line := regexp.MustCompile(`^init (\S+) @\S+ ms, (\S+) ms clock, (\d+) bytes, (\d+) allocs`)
	type cost struct {
		millis        float64
		bytes, allocs int
		text          []string
	}
	var runs []cost
	for range 5 {
		cmd := exec.Command(program, "--version")
		cmd.Env = []string{"GODEBUG=inittrace=1", "HOME=" + t.TempDir()}
		var trace bytes.Buffer
		cmd.Stderr = &trace
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		var c cost
		for s := bufio.NewScanner(&trace); s.Scan(); {
			m := line.FindStringSubmatch(s.Text())
			if m == nil {
				continue
			}
			ms, _ := strconv.ParseFloat(m[2], 64)
			n, _ := strconv.Atoi(m[3])
			k, _ := strconv.Atoi(m[4])
			c.millis, c.bytes, c.allocs, c.text = c.millis+ms, c.bytes+n, c.allocs+k, append(c.text, s.Text())
		}
		runs = append(runs, c)
	}
	best := slices.MinFunc(runs, func(a, b cost) int { return int(1e6 * (a.millis - b.millis)) })
	t.Logf("initialisation: %.2f ms, %d bytes, %d allocations, %d packages", best.millis, best.bytes, best.allocs, len(best.text))
	if len(best.text) == 0 {
		t.Fatal("no init trace")
	}
	if best.bytes > maxInitBytes || best.allocs > maxInitAllocs || best.millis > maxInitMillis {
		t.Errorf("initialisation costs more than %d bytes, %d allocations or %v ms:\n%s", maxInitBytes, maxInitAllocs, maxInitMillis, strings.Join(best.text, "\n"))
	}
}
