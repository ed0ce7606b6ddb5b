package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"lighter/api"
)

// readLine gives the only line of a small file, empty when it cannot be read.
func readLine(path string) string {
	b, _ := os.ReadFile(path) // absent: the fact is unknown, which is what "" says
	return strings.TrimSpace(string(b))
}

// osRelease reads the name and the version of the host's system (os-release(5)).
func osRelease() (name, version string) {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			key, val, _ := strings.Cut(strings.TrimSpace(sc.Text()), "=")
			if len(val) > 1 && (val[0] == '"' || val[0] == '\'') {
				val = val[1 : len(val)-1]
			}
			switch key {
			case "PRETTY_NAME":
				name = val
			case "VERSION_ID":
				version = val
			}
		}
		break
	}
	if name == "" {
		name = "Linux"
	}
	return name, version
}

// memTotal is the machine's memory in bytes.
func memTotal() int64 {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// machine is the processor's name as uname(1) gives it.
func machine() string {
	if name := readLine("/proc/sys/kernel/arch"); name != "" {
		return name
	}
	names := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
	if name, ok := names[runtime.GOARCH]; ok {
		return name
	}
	return runtime.GOARCH
}

// openFiles counts the engine's descriptors.
func openFiles() int {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return -1
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return len(names) - 1 // d itself
}

// engineID gives the name that the engine keeps for life: a UUID in a file of the data root.
func engineID(root string) (string, error) {
	path := filepath.Join(root, "engine-id")
	if id := readLine(path); len(id) == 36 {
		return id, nil
	}
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562, version 4
	h := hex.EncodeToString(b[:])
	id := strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
	if err := os.WriteFile(path+".new", []byte(id), 0o600); err != nil {
		return "", fmt.Errorf("name the engine: %w", err)
	}
	return id, os.Rename(path+".new", path)
}

// serverVersion answers GET /version.
func serverVersion(kernel string) api.ServerVersion {
	v := api.ServerVersion{
		Platform:   api.VersionPlatform{Name: "lighter " + api.Release},
		Version:    api.DockerVersion,
		APIVersion: api.Version, MinAPIVersion: api.MinVersion,
		GitCommit: api.Commit, GoVersion: runtime.Version(),
		Os: runtime.GOOS, Arch: runtime.GOARCH, KernelVersion: kernel,
	}
	v.Components = []api.ComponentVersion{
		{Name: "Engine", Version: v.Version, Details: map[string]string{
			"ApiVersion": v.APIVersion, "Arch": v.Arch, "BuildTime": v.BuildTime, "Experimental": "false",
			"GitCommit": v.GitCommit, "GoVersion": v.GoVersion, "KernelVersion": v.KernelVersion,
			"MinAPIVersion": v.MinAPIVersion, "Os": v.Os,
		}},
		{Name: "lighter", Version: api.Release, Details: map[string]string{"GitCommit": api.Commit}},
	}
	return v
}
