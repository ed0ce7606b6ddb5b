//go:build ignore

// gen writes syscalls.txt: for each system call its name and its number on x86_64,
// x86, x32, aarch64 and arm. The numbers come from golang.org/x/sys/unix, x32's own
// ones from the kernel's <asm/unistd_x32.h>.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const x32Bit = 0x40000000

func main() {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix").Output()
	if err != nil {
		log.Fatal(err)
	}
	dir := strings.TrimSpace(string(out))
	amd64 := table(filepath.Join(dir, "zsysnum_linux_amd64.go"))
	arm := table(filepath.Join(dir, "zsysnum_linux_arm.go"))
	// The calls that ARM keeps outside its table, and the name by which others know 341.
	maps.Copy(arm, map[string]uint64{"breakpoint": 0xf0001, "cacheflush": 0xf0002, "usr26": 0xf0003,
		"usr32": 0xf0004, "set_tls": 0xf0005, "get_tls": 0xf0006, "sync_file_range2": arm["arm_sync_file_range"]})
	tables := []map[string]uint64{amd64, table(filepath.Join(dir, "zsysnum_linux_386.go")), x32(amd64),
		table(filepath.Join(dir, "zsysnum_linux_arm64.go")), arm}

	names := map[string]bool{}
	for _, t := range tables {
		for name := range t {
			names[name] = true
		}
	}
	var b bytes.Buffer
	for _, name := range slices.SortedFunc(maps.Keys(names), cmp.Compare) {
		b.WriteString(name)
		for _, t := range tables {
			if nr, ok := t[name]; ok {
				fmt.Fprintf(&b, " %d", nr)
			} else {
				b.WriteString(" -")
			}
		}
		b.WriteByte('\n')
	}
	if err := os.WriteFile("syscalls.txt", b.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
}

// table reads lines of the form "SYS_NAME = 12" or "#define __NR_name (base + 12)".
func table(file string) map[string]uint64 {
	f, err := os.Open(file)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	t := map[string]uint64{}
	for in := bufio.NewScanner(f); in.Scan(); {
		words := strings.Fields(strings.NewReplacer("=", " ", "(", " ", ")", " ", "+", " ").Replace(in.Text()))
		switch {
		case len(words) == 2 && strings.HasPrefix(words[0], "SYS_"):
			t[strings.ToLower(words[0][4:])] = number(words[1])
		case len(words) == 4 && words[2] == "__X32_SYSCALL_BIT":
			t[strings.TrimPrefix(words[1], "__NR_")] = number(words[3]) | x32Bit
		}
	}
	return t
}

// x32 adds to the header's calls those that came after it: since 5.x all are common to
// x86_64 and x32.
func x32(amd64 map[string]uint64) map[string]uint64 {
	t := table("/usr/include/x86_64-linux-gnu/asm/unistd_x32.h")
	var last uint64
	for _, nr := range t {
		if nr &^= x32Bit; nr < 512 {
			last = max(last, nr)
		}
	}
	for name, nr := range amd64 {
		if nr > last {
			t[name] = nr | x32Bit
		}
	}
	return t
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		log.Fatal(err)
	}
	return n
}
