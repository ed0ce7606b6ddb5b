package image

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/sys/signal"

	"lighter/api"
)

// Change applies instructions of a Dockerfile to a run config: those that change nothing
// but the config. They are read by BuildKit's own parser, so that they mean what they
// mean in a build.
func Change(config *api.ContainerConfig, changes []string) error {
	if len(changes) == 0 {
		return nil
	}
	file, err := parser.Parse(strings.NewReader(strings.Join(changes, "\n")))
	if err != nil {
		return api.Errorf(api.Invalid, "%w", err)
	}
	for _, node := range file.AST.Children {
		if !allowedChange(strings.ToLower(node.Value)) {
			return api.Errorf(api.Invalid, "%s is not a valid change command", node.Value)
		}
	}
	c := changer{config: config, words: shell.NewLex(file.EscapeToken)}
	for _, node := range file.AST.Children {
		cmd, err := instructions.ParseCommand(node)
		if err == nil {
			err = c.apply(cmd)
		}
		if err != nil {
			return api.Errorf(api.Invalid, "%w", err)
		}
	}
	return nil
}

func allowedChange(instruction string) bool {
	switch instruction {
	case "cmd", "entrypoint", "healthcheck", "env", "expose", "label", "onbuild", "stopsignal", "user", "volume", "workdir":
		return true
	}
	return false
}

// changer applies instructions one by one.
type changer struct {
	config *api.ContainerConfig
	words  *shell.Lex
	cmdSet bool // by an instruction: a later ENTRYPOINT leaves it alone
}

func (c *changer) apply(cmd instructions.Command) error {
	env := shell.EnvsFromSlice(c.config.Env)
	if words, ok := cmd.(instructions.SupportsSingleWordExpansion); ok {
		err := words.Expand(func(word string) (string, error) {
			word, _, err := c.words.ProcessWord(word, env)
			return word, err
		})
		if err != nil {
			return err
		}
	}
	config := c.config
	switch cmd := cmd.(type) {
	case *instructions.EnvCommand:
		for _, e := range cmd.Env {
			config.Env = setEnv(config.Env, e.Key, e.String())
		}
	case *instructions.LabelCommand:
		if config.Labels == nil {
			config.Labels = map[string]string{}
		}
		for _, l := range cmd.Labels {
			config.Labels[l.Key] = l.Value
		}
	case *instructions.CmdCommand:
		config.Cmd = c.commandLine(cmd.ShellDependantCmdLine)
		config.ArgsEscaped = false
		c.cmdSet = c.cmdSet || len(cmd.CmdLine) > 0
	case *instructions.EntrypointCommand:
		config.Entrypoint = c.commandLine(cmd.ShellDependantCmdLine)
		config.ArgsEscaped = false
		if !c.cmdSet {
			config.Cmd = nil
		}
	case *instructions.HealthCheckCommand:
		config.Healthcheck = (*api.Healthcheck)(cmd.Health)
	case *instructions.ExposeCommand:
		return c.expose(cmd.Ports, env)
	case *instructions.UserCommand:
		config.User = cmd.User
	case *instructions.VolumeCommand:
		return c.volumes(cmd.Volumes)
	case *instructions.StopSignalCommand:
		if _, err := signal.ParseSignal(cmd.Signal); err != nil {
			return err
		}
		config.StopSignal = cmd.Signal
	case *instructions.WorkdirCommand:
		return c.workdir(cmd.Path)
	case *instructions.OnbuildCommand:
		config.OnBuild = append(config.OnBuild, cmd.Expression)
	default:
		return fmt.Errorf("%s is not a valid change command", cmd.Name())
	}
	return nil
}

// commandLine gives the words of a command, with a shell before them when it was written
// as one line.
func (c *changer) commandLine(line instructions.ShellDependantCmdLine) api.StrSlice {
	if !line.PrependShell || line.CmdLine == nil {
		return api.StrSlice(line.CmdLine)
	}
	sh := c.config.Shell
	if len(sh) == 0 {
		sh = api.StrSlice{"/bin/sh", "-c"}
	}
	return append(append(api.StrSlice{}, sh...), line.CmdLine...)
}

func (c *changer) volumes(paths []string) error {
	for _, p := range paths {
		if p == "" {
			return errors.New("VOLUME specified can not be an empty string")
		}
		if c.config.Volumes == nil {
			c.config.Volumes = map[string]struct{}{}
		}
		c.config.Volumes[p] = struct{}{}
	}
	return nil
}

func (c *changer) workdir(dir string) error {
	if dir == "" {
		return errors.New("cannot normalize nothing")
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", c.config.WorkingDir, dir)
	}
	c.config.WorkingDir = path.Clean(dir)
	return nil
}

// expose adds ports; a variable may stand for several.
func (c *changer) expose(specs []string, env shell.EnvGetter) error {
	for _, spec := range specs {
		words, err := c.words.ProcessWords(spec, env)
		if err != nil {
			return err
		}
		if c.config.ExposedPorts == nil {
			c.config.ExposedPorts = map[string]struct{}{}
		}
		for _, word := range words {
			ports, err := exposed(word)
			if err != nil {
				return err
			}
			for _, p := range ports {
				c.config.ExposedPorts[p] = struct{}{}
			}
		}
	}
	return nil
}

// exposed reads [[ip:]host:]port[-port][/proto] and gives the container's ports: "80/tcp".
func exposed(spec string) ([]string, error) {
	parts := strings.Split(spec, ":")
	port, proto, _ := strings.Cut(parts[len(parts)-1], "/")
	proto, _, _ = strings.Cut(proto, "/")
	if proto == "" {
		proto = "tcp"
	}
	if len(parts) > 2 {
		ip := strings.Join(parts[:len(parts)-2], ":")
		if inner, ok := strings.CutPrefix(ip, "["); ok {
			ip = strings.TrimSuffix(inner, "]")
		}
		if a, err := netip.ParseAddr(ip); ip != "" && (err != nil || a.Zone() != "") {
			return nil, api.Errorf(api.Invalid, "Invalid ip address: %s", ip)
		}
	}
	if port == "" {
		return nil, api.Errorf(api.Invalid, "No port specified: %s<empty>", spec)
	}
	first, last, ok := portRange(port)
	if !ok {
		return nil, api.Errorf(api.Invalid, "Invalid containerPort: %s", port)
	}
	if len(parts) > 1 && parts[len(parts)-2] != "" {
		host := parts[len(parts)-2]
		hostFirst, hostLast, ok := portRange(host)
		if !ok {
			return nil, api.Errorf(api.Invalid, "Invalid hostPort: %s", host)
		}
		if first != last && last-first != hostLast-hostFirst {
			return nil, api.Errorf(api.Invalid, "Invalid ranges specified for container and host Ports: %s and %s", port, host)
		}
	}
	switch strings.ToLower(proto) {
	case "tcp", "udp", "sctp":
	default:
		return nil, api.Errorf(api.Invalid, "Invalid proto: %s", proto)
	}
	var list []string
	for n := first; n <= last; n++ {
		list = append(list, strconv.Itoa(n)+"/"+strings.ToLower(proto))
	}
	return list, nil
}

func portRange(s string) (first, last int, ok bool) {
	from, to, isRange := strings.Cut(s, "-")
	a, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return 0, 0, false
	}
	if !isRange {
		return int(a), int(a), true
	}
	b, err := strconv.ParseUint(to, 10, 16)
	return int(a), int(b), err == nil && b >= a
}

// setEnv replaces the variable key, or appends it.
func setEnv(env []string, key, entry string) []string {
	for n, e := range env {
		if k, _, _ := strings.Cut(e, "="); k == key {
			env[n] = entry
			return env
		}
	}
	return append(env, entry)
}
