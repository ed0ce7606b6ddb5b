package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// readPairs reads files of key=value lines, and puts those given on the command line
// after them. A key alone takes its value from lookup, or is left out; without lookup
// it is left out, too.
func readPairs(files, given []string, lookup func(string) (string, bool)) ([]string, error) {
	var all []string
	for _, file := range files {
		pairs, err := readPairFile(file, lookup)
		if err != nil {
			return nil, err
		}
		all = append(all, pairs...)
	}
	return append(all, given...), nil
}

func readPairFile(path string, lookup func(string) (string, bool)) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var pairs []string
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		b := lines.Bytes()
		if !utf8.Valid(b) {
			return nil, fmt.Errorf("invalid env file (%s): invalid utf8 bytes at line %d: %v", path, n, b)
		}
		if n == 1 {
			b = bytes.TrimPrefix(b, []byte("\uFEFF"))
		}
		line := strings.TrimLeftFunc(string(b), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		key, _, ok := strings.Cut(line, "=")
		switch {
		case key == "":
			return nil, fmt.Errorf("invalid env file (%s): no variable name on line '%s'", path, line)
		case strings.ContainsAny(key, " \t"):
			return nil, fmt.Errorf("invalid env file (%s): variable '%s' contains whitespaces", path, key)
		case ok:
			pairs = append(pairs, line)
		case lookup != nil:
			if v, has := lookup(line); has {
				pairs = append(pairs, key+"="+v)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("invalid env file (%s): %v", path, err)
	}
	return pairs, nil
}

// pairMap makes a map of key=value pairs; a key alone has an empty value.
func pairMap(pairs []string) map[string]string {
	m := make(map[string]string, len(pairs))
	for _, kv := range pairs {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}

// lastPairs gives each key once, with the value that it was given last.
func lastPairs(pairs []string) []string {
	var list []string
	at := map[string]int{}
	for _, kv := range pairs {
		k, _, _ := strings.Cut(kv, "=")
		if i, ok := at[k]; ok {
			list[i] = kv
			continue
		}
		at[k] = len(list)
		list = append(list, kv)
	}
	return list
}
