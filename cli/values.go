package cli

import (
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"lighter/api"
)

// listFlag collects values; check may be nil.
type listFlag struct {
	values *[]string
	check  func(string) (string, error)
}

func (l *listFlag) Type() string       { return "list" }
func (l *listFlag) GetSlice() []string { return *l.values } // lets completion give more than one
func (l *listFlag) String() string {
	if len(*l.values) == 0 {
		return ""
	}
	return fmt.Sprint(*l.values)
}

func (l *listFlag) Set(s string) error {
	if l.check != nil {
		var err error
		if s, err = l.check(s); err != nil {
			return err
		}
	}
	*l.values = append(*l.values, s)
	return nil
}

// list makes a listFlag.
func list(values *[]string, check func(string) (string, error)) *listFlag {
	return &listFlag{values, check}
}

// mapFlag collects key=value pairs; check may be nil.
type mapFlag struct {
	values map[string]string
	check  func(string) error
}

func (m *mapFlag) Type() string   { return "map" }
func (m *mapFlag) String() string { return fmt.Sprint(m.values) }
func (m *mapFlag) Set(s string) error {
	if m.check != nil {
		if err := m.check(s); err != nil {
			return err
		}
	}
	k, v, _ := strings.Cut(s, "=")
	m.values[k] = v
	return nil
}

// filterFlag collects filters.
type filterFlag struct{ values api.Filters }

func newFilters() *filterFlag { return &filterFlag{api.Filters{}} }

func (f *filterFlag) Type() string   { return "filter" }
func (f *filterFlag) String() string { return f.values.Encode() }
func (f *filterFlag) Set(s string) error {
	if s == "" {
		return nil
	}
	k, v, ok := strings.Cut(s, "=")
	if !ok {
		return errors.New("bad format of filter (expected name=value)")
	}
	f.values.Add(strings.ToLower(strings.TrimSpace(k)), strings.TrimSpace(v))
	return nil
}

// bytesFlag is a size such as 64m.
type bytesFlag int64

func (*bytesFlag) Type() string { return "bytes" }
func (b *bytesFlag) String() string {
	if *b == 0 {
		return "0"
	}
	return units.BytesSize(float64(*b))
}

func (b *bytesFlag) Set(s string) error {
	n, err := units.RAMInBytes(s)
	*b = bytesFlag(n)
	return err
}

// swapFlag is a size, or -1 for no bound.
type swapFlag struct{ bytesFlag }

func (s *swapFlag) Set(v string) error {
	if v == "-1" {
		s.bytesFlag = -1
		return nil
	}
	return s.bytesFlag.Set(v)
}

// cpusFlag is a number of CPUs, in billionths.
type cpusFlag int64

func (*cpusFlag) Type() string { return "decimal" }
func (c *cpusFlag) String() string {
	if *c == 0 {
		return ""
	}
	return big.NewRat(int64(*c), 1e9).FloatString(3)
}

func (c *cpusFlag) Set(s string) error {
	if at := strings.IndexAny(s, "eEpP"); at >= 0 && len(s)-at > len("e-99") { // 1e999999999 would be written out
		return fmt.Errorf("failed to parse %v as a rational number", s)
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return fmt.Errorf("failed to parse %v as a rational number", s)
	}
	if r.Mul(r, big.NewRat(1e9, 1)); !r.IsInt() {
		return errors.New("value is too precise")
	}
	if !r.Num().IsInt64() {
		return fmt.Errorf("%v CPUs are more than can be counted", s)
	}
	*c = cpusFlag(r.Num().Int64())
	return nil
}

// The checks below give the value back, put right where Docker puts it right.

func checkAttach(s string) (string, error) {
	if l := strings.ToLower(s); slices.Contains([]string{"stdin", "stdout", "stderr"}, l) {
		return l, nil
	}
	return s, errors.New("valid streams are STDIN, STDOUT and STDERR")
}

// checkEnv takes the value of a bare name from our own environment.
func checkEnv(s string) (string, error) {
	k, _, ok := strings.Cut(s, "=")
	if k == "" {
		return "", errors.New("invalid environment variable: " + s)
	}
	if v, has := os.LookupEnv(k); !ok && has {
		return k + "=" + v, nil
	}
	return s, nil
}

func checkLabel(s string) (string, error) {
	k, _, _ := strings.Cut(s, "=")
	k = strings.TrimLeft(k, " \t")
	if k == "" {
		return "", fmt.Errorf("invalid label '%s': empty name", s)
	}
	if strings.ContainsAny(k, " \t") {
		return "", fmt.Errorf("label '%s' contains whitespaces", k)
	}
	return s, nil
}

func checkIP(s string) (string, error) {
	if ip := net.ParseIP(strings.TrimSpace(s)); ip != nil {
		return ip.String(), nil
	}
	return "", fmt.Errorf("IP address is not correctly formatted: %s", s)
}

// checkSearch takes a domain, or a dot for none.
func checkSearch(s string) (string, error) {
	s = strings.Trim(s, " ")
	if s == "." {
		return s, nil
	}
	name := strings.TrimSuffix(strings.TrimRight(s, " \t\r\n\v\f"), ".")
	ok := len(name) < 255 && strings.ContainsFunc(s, func(r rune) bool { return letter(r) })
	for label := range strings.SplitSeq(name, ".") {
		// Docker's pattern lets a colon stand before every label and every part of it.
		label = strings.TrimLeft(label, ":")
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !letter(r) && (r < '0' || r > '9') && r != '-' }) {
			ok = false
		}
	}
	if !ok {
		return "", fmt.Errorf("%s is not a valid domain", s)
	}
	return name, nil
}

func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func checkLink(s string) (string, error) {
	switch {
	case s == "":
		return s, errors.New("empty string specified for links")
	case strings.Count(s, ":") > 1:
		return s, errors.New("bad format for links: " + s)
	}
	return s, nil
}

// checkExtraHost gives host:address, the one form that engines take.
func checkExtraHost(s string) (string, error) {
	host, addr, ok := strings.Cut(s, "=")
	if !ok {
		host, addr, ok = strings.Cut(s, ":")
	}
	if !ok || host == "" || strings.Contains(host, ":") {
		return "", fmt.Errorf("bad format for add-host: %q", s)
	}
	if addr != "host-gateway" {
		if n := len(addr); n > 2 && addr[0] == '[' && addr[n-1] == ']' {
			addr = addr[1 : n-1]
		}
		if _, err := checkIP(addr); err != nil {
			return "", fmt.Errorf("invalid IP address in add-host: %q", addr)
		}
	}
	return host + ":" + addr, nil
}

// checkSysctl lets those through that belong to a namespace.
func checkSysctl(s string) error {
	k, _, ok := strings.Cut(s, "=")
	known := []string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"}
	if ok && (slices.Contains(known, k) || strings.HasPrefix(k, "net.") || strings.HasPrefix(k, "fs.mqueue.")) {
		return nil
	}
	return fmt.Errorf("sysctl '%s' is not allowed", s)
}

// checkDeviceRule takes "type major:minor mode".
func checkDeviceRule(s string) (string, error) {
	parts := strings.Split(s, " ")
	ok := len(parts) == 3 && slices.Contains([]string{"a", "b", "c"}, parts[0]) &&
		parts[2] != "" && len(parts[2]) <= 3 && strings.Trim(parts[2], "rwm") == ""
	if ok {
		major, minor, two := strings.Cut(parts[1], ":")
		number := func(s string) bool { return s == "*" || s != "" && strings.Trim(s, "0123456789") == "" }
		ok = two && number(major) && number(minor)
	}
	if !ok {
		return s, fmt.Errorf("invalid device cgroup format '%s'", s)
	}
	return s, nil
}

// checkDevice takes host[:container][:mode], for a Linux engine.
func checkDevice(s string) (string, error) {
	parts := strings.Split(s, ":")
	if len(parts) > 3 || parts[0] == "" {
		return s, fmt.Errorf("bad format for path: %s", s)
	}
	inside := parts[0]
	switch {
	case len(parts) == 1:
		s = path.Clean(inside)
	case len(parts) == 2 && deviceMode(parts[1]):
		s = path.Clean(inside) + ":" + parts[1]
	case len(parts) == 2:
		inside = parts[1]
		s = parts[0] + ":" + path.Clean(inside)
	case !deviceMode(parts[2]):
		return s, fmt.Errorf("bad mode specified: %s", parts[2])
	default:
		inside = parts[1]
	}
	if !path.IsAbs(inside) {
		return s, fmt.Errorf("%s is not an absolute path", inside)
	}
	return s, nil
}

// deviceMode tells whether s is made of r, w and m, each at most once.
func deviceMode(s string) bool {
	for i, c := range s {
		if !strings.ContainsRune("rwm", c) || strings.ContainsRune(s[:i], c) {
			return false
		}
	}
	return s != ""
}
