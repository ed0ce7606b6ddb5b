package oci

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

// Platform is what an image is made for.
type Platform struct {
	Architecture string   `json:"architecture"` // of GOARCH
	OS           string   `json:"os"`           // of GOOS
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"` // of the architecture: v7, v8…
}

var errPlatform = errors.New("invalid argument")

// Host gives the platform that images run on here.
func Host() Platform {
	p := Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	if p.Architecture == "arm64" {
		p.Variant = "v8"
	}
	return p
}

// ParsePlatform reads os[(version)], arch, os/arch or os/arch/variant, in any of the
// spellings that Docker knows (x86_64, aarch64, armhf…), with its errors.
func ParsePlatform(s string) (Platform, error) {
	if strings.Contains(s, "*") {
		return Platform{}, fmt.Errorf("%q: wildcards not yet supported: %w", s, errPlatform)
	}
	parts := strings.SplitN(s, "/", 4)
	var p Platform
	var ok bool
	if p.OS, p.OSVersion, ok = cutOS(parts[0]); !ok {
		return Platform{}, fmt.Errorf("%q is an invalid OS component of %q: OSAndVersion specifier component must match %q: %w",
			parts[0], s, `^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?$`, errPlatform)
	}
	for _, part := range parts[1:] {
		if !platformWord(part, "") {
			return Platform{}, fmt.Errorf("%q is an invalid component of %q: platform specifier component must match %q: %w",
				part, s, `^[A-Za-z0-9_-]+$`, errPlatform)
		}
	}
	switch len(parts) {
	case 1:
		if knownOS(p.OS) {
			p.Architecture = runtime.GOARCH
			return p, nil
		}
		p.Architecture, p.Variant = normalArch(parts[0], "")
		if !knownArch(p.Architecture) {
			return Platform{}, fmt.Errorf("%q: unknown operating system or architecture: %w", s, errPlatform)
		}
		p.OS = runtime.GOOS
	case 2:
		p.Architecture, p.Variant = normalArch(parts[1], "")
	case 3:
		p.Architecture, p.Variant = normalArch(parts[1], parts[2])
		if p.Architecture == "arm64" && p.Variant == "" {
			p.Variant = "v8"
		}
		return p, nil
	default:
		return Platform{}, fmt.Errorf("%q: cannot parse platform specifier: %w", s, errPlatform)
	}
	if p.Architecture == "arm" && p.Variant == "v7" {
		p.Variant = ""
	}
	return p, nil
}

// String gives os[(version)]/arch[/variant].
func (p Platform) String() string {
	if p.OS == "" {
		return "unknown"
	}
	s := p.OS
	if p.OSVersion != "" {
		s += "(" + p.OSVersion + ")"
	}
	for _, part := range []string{p.Architecture, p.Variant} {
		if part != "" {
			s += "/" + part
		}
	}
	return s
}

// Normal gives p in the one spelling that comparing needs.
func (p Platform) Normal() Platform {
	p.OS = normalOS(p.OS)
	p.Architecture, p.Variant = normalArch(p.Architecture, p.Variant)
	return p
}

// Is reports whether p and q are the same platform.
func (p Platform) Is(q Platform) bool {
	p, q = p.Normal(), q.Normal()
	return p.OS == q.OS && p.Architecture == q.Architecture && p.Variant == q.Variant &&
		(p.OSVersion == "" || p.OSVersion == q.OSVersion)
}

// Runs reports whether an image made for q runs on p: the same platform, an earlier
// variant of it, or its 32-bit sibling. An image that names no variant passes.
func (p Platform) Runs(q Platform) bool {
	_, ok := p.Rank(q)
	return ok
}

// Rank tells how well an image made for q suits p: 0 is best. ok is false when q does
// not run on p.
func (p Platform) Rank(q Platform) (rank int, ok bool) {
	p, bare := p.Normal(), q.Variant == ""
	q = q.Normal()
	if p.OS != q.OS {
		return 0, false
	}
	for i, a := range p.accepts() {
		if a.Architecture == q.Architecture && a.Variant == q.Variant {
			return i, true
		}
	}
	if bare && p.Architecture == q.Architecture {
		return 100, true
	}
	return 0, false
}

// accepts lists what runs on the normal platform p, best first.
func (p Platform) accepts() []Platform {
	list := []Platform{{Architecture: p.Architecture, Variant: p.Variant}}
	older := func(arch string, least int) {
		v, err := strconv.Atoi(strings.TrimPrefix(p.Variant, "v"))
		for v--; err == nil && v >= least; v-- {
			variant := "v" + strconv.Itoa(v)
			_, variant = normalArch(arch, variant)
			list = append(list, Platform{Architecture: arch, Variant: variant})
		}
	}
	switch p.Architecture {
	case "amd64":
		older("amd64", 1)
		list = append(list, Platform{Architecture: "386"})
	case "arm":
		older("arm", 5)
	case "arm64":
		list = append(list, Platform{Architecture: "arm64"})
		for _, v := range []string{"v8", "v7", "v6", "v5"} {
			list = append(list, Platform{Architecture: "arm", Variant: v})
		}
	}
	return list
}

func cutOS(s string) (os, version string, ok bool) {
	os, rest, has := strings.Cut(s, "(")
	if has {
		if version, ok = strings.CutSuffix(rest, ")"); !ok || version != "" && !platformWord(version, ".") {
			return "", "", false
		}
	}
	return normalOS(os), version, platformWord(os, "")
}

func platformWord(s, more string) bool {
	for i := range len(s) {
		if c := s[i]; !letter(c) && !digit(c) && c != '_' && c != '-' && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return s != ""
}

func normalOS(os string) string {
	switch os = strings.ToLower(os); os {
	case "":
		return runtime.GOOS
	case "macos":
		return "darwin"
	}
	return os
}

// normalArch gives architecture and variant in Go's words, with the variant that every
// machine of the architecture has left out (but for arm, whose default is v7).
func normalArch(arch, variant string) (string, string) {
	arch, variant = strings.ToLower(arch), strings.ToLower(variant)
	switch arch {
	case "i386":
		return "386", ""
	case "x86_64", "x86-64", "amd64":
		if variant == "v1" {
			variant = ""
		}
		return "amd64", variant
	case "aarch64", "arm64":
		if variant == "8" || variant == "v8" || variant == "v8.0" {
			variant = ""
		}
		return "arm64", variant
	case "armhf":
		return "arm", "v7"
	case "armel":
		return "arm", "v6"
	case "arm":
		switch variant {
		case "", "7":
			variant = "v7"
		case "5", "6", "8":
			variant = "v" + variant
		}
	}
	return arch, variant
}

func knownOS(os string) bool {
	switch os {
	case "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
		"nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos":
		return true
	}
	return false
}

func knownArch(arch string) bool {
	switch arch {
	case "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "ppc64", "ppc64le", "loong64",
		"mips", "mipsle", "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc", "riscv", "riscv64",
		"s390", "s390x", "sparc", "sparc64", "wasm":
		return true
	}
	return false
}
