package main

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"lighter/api"
	"lighter/task"
)

// ownRuntimes are the names that lighter's own runtime answers to.
var ownRuntimes = []string{"runc", "lighter", "io.containerd.runc.v2"}

// runtimeConfig is an OCI runtime of the user's, as the configuration has it.
type runtimeConfig struct {
	Path string   `json:"path"`
	Args []string `json:"runtimeArgs"`
}

// runtimeFlag collects NAME=PATH.
type runtimeFlag map[string]runtimeConfig

func (r runtimeFlag) String() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(r)) {
		list = append(list, name+"="+r[name].Path)
	}
	return fmt.Sprint(list)
}

// Type is the word for the value in the help.
func (r runtimeFlag) Type() string { return "runtime" }

// Set adds one.
func (r runtimeFlag) Set(s string) error {
	name, path, ok := strings.Cut(s, "=")
	if !ok || name == "" || path == "" {
		return fmt.Errorf("%q is not NAME=PATH", s)
	}
	if _, twice := r[name]; twice {
		return fmt.Errorf("runtime %q is there twice", name)
	}
	r[name] = runtimeConfig{Path: path}
	return nil
}

// checkRuntimes finds the programs of the runtimes, in PATH or where they are said to be.
func (c *config) checkRuntimes() error {
	for name, r := range c.Runtimes {
		if slices.Contains(ownRuntimes, name) {
			return fmt.Errorf("runtime name %q is reserved: it is lighter's own", name)
		}
		path, err := exec.LookPath(r.Path)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return fmt.Errorf("runtime %q: %w", name, err)
		}
		c.Runtimes[name] = runtimeConfig{Path: path, Args: r.Args}
	}
	if _, ok := c.Runtimes[c.Runtime]; !ok && !slices.Contains(ownRuntimes, c.Runtime) {
		return fmt.Errorf("unknown runtime %q: --add-runtime %s=PATH makes it known", c.Runtime, c.Runtime)
	}
	return nil
}

// runtimes gives them as containers know them.
func (c *config) runtimes() map[string]*task.Runtime {
	all := map[string]*task.Runtime{}
	for name, r := range c.Runtimes {
		all[name] = &task.Runtime{Path: r.Path, Args: r.Args}
	}
	return all
}

// knownRuntimes gives them as GET /info shows them.
func (c *config) knownRuntimes() map[string]api.Runtime {
	all := map[string]api.Runtime{}
	for _, name := range ownRuntimes {
		all[name] = api.Runtime{Path: c.Keeper, Args: []string{"oci"}}
	}
	for name, r := range c.Runtimes {
		all[name] = api.Runtime{Path: r.Path, Args: r.Args}
	}
	return all
}
