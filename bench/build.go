package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// buildRows time builds, beside the faster of the peer's two builders.
var buildRows = []row{
	{name: "ten RUN echo and a COPY of 2,000 files, no cache", asked: 8, runs: 5, chart: "build, no cache", prepare: smallBuild, once: build("small", "--no-cache")},
	{name: "the same, all cached", asked: 5, runs: 10, chart: "build, all cached", prepare: smallBuild, once: build("small"), after: forgetBuilds},
	{name: "a context of 100,000 files, one changed", asked: 5, runs: 3, chart: "build, 1 of 100,000 files changed", prepare: largeBuild, before: changeOne, once: build("large"), after: forgetBuilds},
	{name: "four stages of one second each, no cache", runs: 3, prepare: stagesBuild, once: build("stages", "--no-cache"), after: forgetBuilds},
	{name: realLimitRow, runs: 2, alone: true, prepare: realFolder, once: realCommands},
	{name: "a real one: nginx and gcc from packages, a C program, a slim stage, no cache", asked: 1, runs: 2, limit: realLimitRow, times: 1.05, chart: "build, nginx and gcc", prepare: realBuild, once: build("real", "--no-cache"), after: forgetBuilds},
}

// buildLabel is of what is built: the classic builder leaves its stages as images.
const buildLabel = "lighter.bench=1"

// realLimitRow is what the real build's commands take without a builder.
const realLimitRow = "limit: the commands of the real build, in one container"

// build builds a folder of the engine's with the builder that was found to be its faster one.
func build(name string, flags ...string) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		args := append([]string{"build", "-q", "-t", "bench:built"}, flags...)
		return e.builder(e.classic).run(ctx, append(args, filepath.Join(e.dir, name))...)
	}
}

// builder is the engine, asked for its classic builder or for the other.
func (e *engine) builder(classic bool) *engine {
	with := *e
	with.env = append(with.env[:len(with.env):len(with.env)], map[bool]string{true: "DOCKER_BUILDKIT=0", false: "DOCKER_BUILDKIT=1"}[classic])
	return &with
}

// choose finds out which of a peer's builders is the faster one for a folder, once.
func (e *engine) choose(ctx context.Context, name string, flags ...string) error {
	if e.ours {
		return build(name, flags...)(ctx, e)
	}
	if _, done := e.chosen[name]; done {
		e.classic = e.chosen[name]
		return nil
	}
	var best time.Duration
	var errs [2]error
	for i, classic := range []bool{true, false} {
		e.classic = classic
		for range 2 { // the first fills caches
			began := time.Now()
			if errs[i] = build(name, flags...)(ctx, e); errs[i] != nil {
				break
			}
			if took := time.Since(began); best == 0 || took < best {
				best, e.chosen[name] = took, classic
			}
		}
	}
	if errs[0] != nil && errs[1] != nil { // one builder is enough: podman has no BuildKit
		return errors.Join(errs[:]...)
	}
	e.classic = e.chosen[name]
	return nil
}

// only sets the builder when the peer has it: podman has the classic one alone.
func (e *engine) only(ctx context.Context, name string) error {
	e.classic = false
	if err := build(name)(ctx, e); err == nil || e.ours {
		return err
	}
	e.classic = true
	return build(name)(ctx, e)
}

// folder makes a context, unless it is there.
func (e *engine) folder(name, dockerfile string, files int) (string, error) {
	dir := filepath.Join(e.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for n := range files {
		sub := filepath.Join(dir, "src", fmt.Sprintf("d%d", n/500))
		if n%500 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return "", err
			}
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%d", n)), fmt.Appendf(nil, "file %d of %s\n", n, name), 0o644); err != nil {
			return "", err
		}
	}
	return dir, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644)
}

func smallBuild(ctx context.Context, e *engine) error {
	var d strings.Builder
	d.WriteString("FROM bench:busybox\n")
	for n := range 10 {
		fmt.Fprintf(&d, "RUN echo %d\n", n)
	}
	d.WriteString("COPY src /src\nLABEL " + buildLabel + "\n")
	if _, err := e.folder("small", d.String(), 2000); err != nil {
		return err
	}
	return e.choose(ctx, "small", "--no-cache")
}

func largeBuild(ctx context.Context, e *engine) error {
	if _, err := e.folder("large", "FROM bench:busybox\nCOPY src /src\nRUN true\n", 100_000); err != nil {
		return err
	}
	return e.only(ctx, "large") // BuildKit, which sends what changed; the classic builder sends all
}

func changeOne(_ context.Context, e *engine) error {
	return os.WriteFile(filepath.Join(e.dir, "large/src/d7/f3600"), []byte(time.Now().String()), 0o644)
}

func stagesBuild(ctx context.Context, e *engine) error {
	d := "FROM bench:busybox AS base\n"
	for _, s := range []string{"a", "b", "c", "d"} {
		d += fmt.Sprintf("FROM base AS %s\nRUN sleep 1; echo %s >/%s\n", s, s, s)
	}
	d += "FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=c /c /\nCOPY --from=d /d /\n"
	if _, err := e.folder("stages", d, 0); err != nil {
		return err
	}
	return e.only(ctx, "stages") // the classic builder does them one after the other
}

// realSteps are the commands of the real build. Packages come from a folder, as neither engine is to wait for a mirror.
var realSteps = []string{
	"cd /debs/nginx && dpkg -i --force-depends *.deb >/log 2>&1 || cat /log",
	"cd /debs/gcc && dpkg -i --force-depends *.deb >/log 2>&1 || cat /log",
	"gcc -O2 -static -o /hello /hello.c && /hello",
}

func realBuild(ctx context.Context, e *engine) error {
	if err := realFolder(ctx, e); err != nil {
		return err
	}
	return e.choose(ctx, "real", "--no-cache")
}

// realFolder makes the context of the real build.
func realFolder(ctx context.Context, e *engine) error {
	if err := haveDebian(ctx, e); err != nil {
		return err
	}
	d := "FROM bench:debian AS base\nCOPY debs /debs\nCOPY hello.c /\n"
	for _, s := range realSteps {
		d += "RUN " + s + "\n"
	}
	dir, err := e.folder("real", d+"LABEL "+buildLabel+"\nFROM bench:busybox\nLABEL "+buildLabel+"\nCOPY --from=base /hello /hello\nCMD [\"/hello\"]\n", 0)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "hello.c"), []byte("#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n"), 0o644); err != nil {
		return err
	}
	return fetchPackages(ctx, e, filepath.Join(dir, "debs"))
}

// realCommands runs what the real build runs, without a builder.
func realCommands(ctx context.Context, e *engine) error {
	dir := filepath.Join(e.dir, "real")
	return e.run(ctx, "run", "--rm", "--network", "none", "-v", dir+"/debs:/debs:ro", "-v", dir+"/hello.c:/hello.c:ro", "bench:debian", "sh", "-c", strings.Join(realSteps, " && "))
}

// forgetBuilds takes what the builders keep away.
func forgetBuilds(ctx context.Context, e *engine) error {
	if err := forget("bench:built")(ctx, e); err != nil {
		return err
	}
	if e.ours {
		return e.run(ctx, "builder", "prune", "-af")
	}
	// The peer is not ours to clear, but for what a builder left of the Dockerfiles above.
	return e.run(ctx, "image", "prune", "-f", "--filter", "label="+buildLabel)
}

// fetchPackages gets nginx and gcc with what they need, once for all runs.
func fetchPackages(ctx context.Context, e *engine, to string) error {
	kept := e.in.debs
	if _, err := os.Stat(filepath.Join(kept, "gcc")); err != nil {
		cmd := exec.CommandContext(ctx, "sh", "-euc", packagesScript, "sh", e.in.debian, kept)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("fetch packages: %w: %s", err, out)
		}
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-r", kept, to).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// packagesScript downloads packages by the apt of a Debian tree, with what they need and the tree lacks.
const packagesScript = `
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
tar -C "$tree" -xf "$1"
cp /etc/resolv.conf "$tree/etc/"
mkdir -p "$2.part"
chroot "$tree" apt-get update -qq
for p in nginx:nginx-light 'gcc:gcc libc6-dev'; do
	rm -f "$tree"/var/cache/apt/archives/*.deb
	chroot "$tree" apt-get install -y -qq --no-install-recommends --download-only ${p#*:}
	mkdir -p "$2.part/${p%%:*}"
	cp "$tree"/var/cache/apt/archives/*.deb "$2.part/${p%%:*}/"
done
mv "$2.part" "$2"`
