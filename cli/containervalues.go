package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"lighter/api"
)

// ulimitFlag collects limits by name.
type ulimitFlag map[string]api.Ulimit

func (ulimitFlag) Type() string { return "ulimit" }
func (u ulimitFlag) String() string {
	words := []string{}
	for _, l := range u.list() {
		words = append(words, fmt.Sprintf("%s=%d:%d", l.Name, l.Soft, l.Hard))
	}
	return fmt.Sprint(words)
}

func (u ulimitFlag) Set(s string) error {
	l, err := units.ParseUlimit(s)
	if err == nil {
		u[l.Name] = api.Ulimit{Name: l.Name, Soft: l.Soft, Hard: l.Hard}
	}
	return err
}

// list gives the limits sorted by name, never nil.
func (u ulimitFlag) list() []api.Ulimit {
	limits := make([]api.Ulimit, 0, len(u))
	for _, name := range slices.Sorted(maps.Keys(u)) {
		limits = append(limits, u[name])
	}
	return limits
}

// deviceRate cuts "path:rate", whose path must be below /dev.
func deviceRate(s string) (path, rate string, err error) {
	path, rate, ok := strings.Cut(s, ":")
	switch {
	case !ok || path == "":
		return "", "", fmt.Errorf("bad format: %s", s)
	case !strings.HasPrefix(path, "/dev/"):
		return "", "", fmt.Errorf("bad format for device path: %s", s)
	}
	return path, rate, nil
}

// weightFlag collects shares of disks.
type weightFlag struct{ values []api.WeightDevice }

func (*weightFlag) Type() string { return "list" }
func (w *weightFlag) String() string {
	words := []string{}
	for _, v := range w.values {
		words = append(words, fmt.Sprintf("%s:%d", v.Path, v.Weight))
	}
	return fmt.Sprint(words)
}

func (w *weightFlag) Set(s string) error {
	path, rate, err := deviceRate(s)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(rate, 10, 16)
	if err != nil || n > 0 && n < 10 || n > 1000 {
		return fmt.Errorf("invalid weight for device: %s", s)
	}
	w.values = append(w.values, api.WeightDevice{Path: path, Weight: uint16(n)})
	return nil
}

func (w *weightFlag) list() []api.WeightDevice { return append([]api.WeightDevice{}, w.values...) }

// throttleFlag collects rates of devices, in bytes or in operations a second.
type throttleFlag struct {
	bytes  bool
	values []api.ThrottleDevice
}

func (*throttleFlag) Type() string { return "list" }
func (t *throttleFlag) String() string {
	words := []string{}
	for _, v := range t.values {
		words = append(words, fmt.Sprintf("%s:%d", v.Path, v.Rate))
	}
	return fmt.Sprint(words)
}

func (t *throttleFlag) Set(s string) error {
	path, text, err := deviceRate(s)
	if err != nil {
		return err
	}
	var rate uint64
	if t.bytes {
		n, err := units.RAMInBytes(text)
		if err != nil || n < 0 {
			return fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb", s)
		}
		rate = uint64(n)
	} else if rate, err = strconv.ParseUint(text, 10, 64); err != nil {
		return fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>. Number must be a positive integer", s)
	}
	t.values = append(t.values, api.ThrottleDevice{Path: path, Rate: rate})
	return nil
}

func (t *throttleFlag) list() []api.ThrottleDevice {
	return append([]api.ThrottleDevice{}, t.values...)
}

// gpuFlag collects requests for GPUs: "all", a number, or fields such as
// device=0, capabilities=compute.
type gpuFlag struct{ values []api.DeviceRequest }

func (*gpuFlag) Type() string { return "gpu-request" }
func (g *gpuFlag) String() string {
	words := make([]string, len(g.values))
	for i, v := range g.values {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ", ")
}

func (g *gpuFlag) Set(s string) error {
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return err
	}
	r := api.DeviceRequest{Options: map[string]string{}, Capabilities: [][]string{{"gpu"}}}
	seen := map[string]bool{}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if seen[key] {
			return fmt.Errorf("gpu request key '%s' can be specified only once", key)
		}
		seen[key] = true
		switch {
		case !ok:
			seen["count"] = true
			r.Count, err = gpuCount(key)
		case key == "driver":
			r.Driver = value
		case key == "count":
			r.Count, err = gpuCount(value)
		case key == "device":
			r.DeviceIDs = strings.Split(value, ",")
		case key == "capabilities":
			r.Capabilities = [][]string{append(strings.Split(value, ","), "gpu")}
		case key == "options":
			var options []string
			if options, err = csv.NewReader(strings.NewReader(value)).Read(); err != nil {
				err = fmt.Errorf("failed to read gpu options: %w", err)
			}
			r.Options = pairMap(options)
		default:
			err = fmt.Errorf("unexpected key '%s' in '%s'", key, field)
		}
		if err != nil {
			return err
		}
	}
	if !seen["count"] && r.DeviceIDs == nil {
		r.Count = 1
	}
	g.values = append(g.values, r)
	return nil
}

func gpuCount(s string) (int, error) {
	if s == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf(`invalid count (%s): value must be either "all" or an integer: %w`, s, numberFault(err))
	}
	return n, nil
}

// numberFault gives the plain reason why a text is no number.
func numberFault(err error) error {
	var n *strconv.NumError
	if errors.As(err, &n) {
		return n.Err
	}
	return err
}

// attachment is one network that a container is to join.
type attachment struct {
	target, ip, ip6, mac      string
	aliases, links, linkLocal []string
	options                   map[string]string
	priority                  int
}

// networkFlag collects networks: a name, or fields such as name=web,alias=db.
type networkFlag struct{ values []attachment }

func (*networkFlag) Type() string   { return "network" }
func (*networkFlag) String() string { return "" }
func (n *networkFlag) Set(s string) error {
	if !fieldSyntax(s) {
		n.values = append(n.values, attachment{target: s})
		return nil
	}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return err
	}
	at := attachment{aliases: []string{}}
	for _, field := range fields {
		key, value, ok := strings.Cut(strings.ToLower(field), "=")
		if !ok || key == "" {
			return fmt.Errorf("invalid field %s", field)
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch key {
		case "name":
			at.target = value
		case "alias":
			at.aliases = append(at.aliases, value)
		case "ip":
			at.ip = value
		case "ip6":
			at.ip6 = value
		case "mac-address":
			at.mac = value
		case "link-local-ip":
			at.linkLocal = append(at.linkLocal, value)
		case "driver-opt":
			k, v, ok := strings.Cut(value, "=")
			if !ok || k == "" {
				return errors.New("invalid key value pair format in driver options")
			}
			if at.options == nil {
				at.options = map[string]string{}
			}
			at.options[strings.TrimSpace(k)] = strings.TrimSpace(v)
		case "gw-priority":
			if at.priority, err = strconv.Atoi(value); err != nil {
				return fmt.Errorf("invalid gw-priority (%s): %w", value, numberFault(err))
			}
		default:
			return errors.New("invalid field key " + key)
		}
	}
	if at.target == "" {
		return errors.New("network name/id is not specified")
	}
	n.values = append(n.values, at)
	return nil
}

// fieldSyntax tells whether s has a key=value in it: a letter, digit or underscore on
// both sides of an equals sign.
func fieldSyntax(s string) bool {
	word := func(c byte) bool { return letter(rune(c)) || c >= '0' && c <= '9' || c == '_' }
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '=' && word(s[i-1]) && word(s[i+1]) {
			return true
		}
	}
	return false
}

// mode gives the network mode: the first network, or the default one.
func (n *networkFlag) mode() string {
	if len(n.values) == 0 {
		return "default"
	}
	return n.values[0].target
}
