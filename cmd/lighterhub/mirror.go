package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"lighter/hub"
	"lighter/hub/distribution"
)

// mirroring is what `serve` was told about other registries.
type mirroring struct {
	of          []string
	fresh, keep time.Duration
	private     bool
}

// loginsVariable holds HOST=NAME:PASSWORD, separated by spaces: a command line is seen by all.
const loginsVariable = "LIGHTERHUB_MIRROR_LOGINS"

func (m *mirroring) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&m.of, "mirror", nil, "Registry that is pulled from through this one, and kept: NAME=https://HOST has its repositories\nbelow NAME, https://HOST alone all names that are nobody's here; may be given several times")
	f.DurationVar(&m.fresh, "mirror-fresh", time.Minute, "How long a mirrored tag is believed before the registry is asked again")
	f.DurationVar(&m.keep, "mirror-keep", 30*24*time.Hour, "How long is kept what was mirrored and nobody asks for; 0 for ever")
	f.BoolVar(&m.private, "mirror-private", false, "Only who has logged in pulls what is mirrored; else everybody does")
}

var mirrorName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

// config checks what was said.
func (m *mirroring) config() (hub.Mirrors, error) {
	c := hub.Mirrors{Of: map[string]*distribution.Remote{}, Fresh: m.fresh, Keep: m.keep, Private: m.private}
	if m.fresh < 0 || m.keep < 0 {
		return c, misuse{errors.New("--mirror-fresh and --mirror-keep take no time that is past")}
	}
	logins := map[string]string{}
	for one := range strings.FieldsSeq(os.Getenv(loginsVariable)) {
		host, login, ok := strings.Cut(one, "=")
		if !ok || !strings.Contains(login, ":") {
			return c, misuse{fmt.Errorf("%s holds what is not HOST=NAME:PASSWORD", loginsVariable)}
		}
		logins[host] = login
	}
	for _, said := range m.of {
		name, address, ok := strings.Cut(said, "=")
		if !ok {
			name, address = "", said
		}
		switch {
		case ok && !mirrorName.MatchString(name):
			return c, misuse{fmt.Errorf("--mirror %s: %q is no name of one part", said, name)}
		case c.Of[name] != nil:
			return c, misuse{fmt.Errorf("--mirror %s: that name stands for another registry already", said)}
		}
		_, host, _ := strings.Cut(address, "://")
		host, _, _ = strings.Cut(host, "/")
		remote, err := distribution.NewRemote(address, logins[host])
		if err != nil {
			return c, misuse{fmt.Errorf("--mirror: %w", err)}
		}
		c.Of[name] = remote
	}
	return c, nil
}
