package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"lighter/api"
	"lighter/engine/container"
	"lighter/kernel"
)

// Where things are when nothing else is said.
const (
	defaultRoot   = "/var/lib/lighter"
	defaultExec   = "/run/lighter"
	defaultHost   = "unix:///run/lighter/lighter.sock"
	defaultConfig = "/etc/lighter/daemon.json"
	defaultGroup  = "lighter"
)

// config is what the engine is told, by flags and by the file; the file's keys are
// dockerd's.
type config struct {
	Root      string   `json:"data-root"`
	ExecRoot  string   `json:"exec-root"`
	Hosts     []string `json:"hosts"`
	Pidfile   string   `json:"pidfile"`
	Group     string   `json:"group"`
	Debug     bool     `json:"debug"`
	LogLevel  string   `json:"log-level"`
	LogFormat string   `json:"log-format"`
	RawLogs   bool     `json:"raw-logs"`
	Labels    []string `json:"labels"`

	Web      string `json:"web"`
	WebPlain bool   `json:"web-plain"`

	LogDriver     string                `json:"log-driver"`
	LogOpts       map[string]string     `json:"log-opts"`
	Init          bool                  `json:"init"`
	ShmSize       bytesSize             `json:"default-shm-size"`
	Ulimits       map[string]api.Ulimit `json:"default-ulimits"`
	IpcMode       string                `json:"default-ipc-mode"`
	CgroupnsMode  string                `json:"default-cgroupns-mode"`
	CgroupParent  string                `json:"cgroup-parent"`
	Remap         string                `json:"userns-remap"`
	RtPeriod      int64                 `json:"cpu-rt-period"`
	RtRuntime     int64                 `json:"cpu-rt-runtime"`
	NoNewPrivs    bool                  `json:"no-new-privileges"`
	Seccomp       string                `json:"seccomp-profile"`
	Runtime       string                `json:"default-runtime"`
	Runtimes      runtimeFlag           `json:"runtimes"`
	StorageDriver string                `json:"storage-driver"`
	ExecOpts      []string              `json:"exec-opts"`
	LiveRestore   bool                  `json:"live-restore"`

	Keeper string `json:"keeper"` // path of the lighter program

	Builder builderConfig `json:"builder"`

	Net netConfig `json:"-"` // its keys stand beside the others
	registryConfig
	tlsConfig
	watchConfig

	passed   map[string]*net.UnixListener // by systemd, by path
	file     string                       // --config-file
	host     string                       // where to listen when nothing else is said
	profile  string                       // what the seccomp profile holds, empty for the built-in one
	remapped bool                         // containers have user ids of their own

	outside *kernel.Outside                                                      // the host's network, of an engine that is not in it; nil for one that is
	dial    func(ctx context.Context, network, address string) (net.Conn, error) // by it; nil without
	lonely  string                                                               // why nothing connects the engine's network with it then; empty where pasta does

	validate bool
	version  bool
	help     bool
}

// later says of dockerd's options that the engine does not take yet why not.
// Each is refused, on the command line and in the file, under either spelling.
var later = map[string]string{
	"allow-direct-routing":         "containers' unpublished ports are never open to the host's network: -o com.docker.network.bridge.gateway_mode_ipv4=routed opens those of one network",
	"authorization-plugin":         "lighter runs no plugins: --policy FILE says who may do what",
	"ip-forward-no-drop":           "lighter never changes the policy of the host's own chains",
	"userland-proxy-path":          "the engine listens on published ports itself",
	"network-control-plane-mtu":    "lighter has no swarm mode",
	"firewall-backend":             "there is --firewall=nftables or none",
	"cdi-spec-dir":                 "devices by CDI are not built yet",
	"containerd":                   "there is no containerd under lighter",
	"containerd-namespace":         "there is no containerd under lighter",
	"containerd-plugins-namespace": "there is no containerd under lighter",
	"cri-containerd":               "there is no containerd under lighter",
	"experimental feature":         "lighter has no experimental features",
	"init-path":                    "lighter brings its own init",
	"metrics-addr":                 "metrics are not built yet",
	"node-generic-resource":        "lighter has no swarm mode",
	"swarm-default-advertise-addr": "lighter has no swarm mode",
	"rootless":                     "start lighterd as the user whose engine it is to be",
	"selinux-enabled":              "SELinux labels are not built yet",
	"shutdown-timeout":             "containers live on when the engine stops",
	"storage-opt":                  "the overlay driver takes no options",
}

// whyNot gives the reason why an option of dockerd's is refused.
func whyNot(name string) (string, bool) {
	for names, reason := range later {
		for have := range strings.FieldsSeq(names) {
			if name == have || name == have+"s" {
				return reason, true
			}
		}
	}
	return "", false
}

// defaults is the configuration of an engine that is told nothing.
func defaults() *config {
	return &config{
		registryConfig: defaultRegistries(), tlsConfig: defaultTLS(),
		Root: defaultRoot, ExecRoot: defaultExec, LogLevel: "info", LogFormat: "text",
		LogDriver: "json-file", LogOpts: map[string]string{}, Ulimits: map[string]api.Ulimit{},
		Net: netDefaults(), ShmSize: 64 << 20, CgroupParent: ourCgroup, Seccomp: "builtin", Runtime: "runc", Runtimes: runtimeFlag{}, LiveRestore: true, file: defaultConfig, host: defaultHost,
	}
}

// flags ties the options to their flags.
func (c *config) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("lighterd", pflag.ContinueOnError)
	f.SortFlags = true
	f.StringVar(&c.Root, "data-root", c.Root, "Where images and containers are kept")
	f.StringVar(&c.ExecRoot, "exec-root", c.ExecRoot, "Where the state of running containers is kept")
	f.StringArrayVarP(&c.Hosts, "host", "H", nil, "Where to listen: unix://PATH or tcp://HOST:PORT; may be given several times (default "+defaultHost+")")
	f.StringVarP(&c.Pidfile, "pidfile", "p", "", "File for the engine's process id (default lighterd.pid in the exec root)")
	f.StringVarP(&c.Group, "group", "G", "", "Group that may use the unix socket (default "+defaultGroup+", if there is one)")
	f.BoolVarP(&c.Debug, "debug", "D", false, "Log much more")
	f.StringVarP(&c.LogLevel, "log-level", "l", c.LogLevel, "What to log: debug, info, warn, error or fatal")
	f.StringVar(&c.LogFormat, "log-format", c.LogFormat, "How to log: text or json")
	f.BoolVar(&c.RawLogs, "raw-logs", false, "Log without colours, as always")
	f.StringArrayVar(&c.Labels, "label", nil, "A key=value label of the engine, shown by info")
	c.tlsConfig.flags(f)
	f.StringVar(&c.Web, "web", "", "Serve the dashboard at HOST:PORT, as 127.0.0.1:8080; lighter web prints a link that signs in")
	f.BoolVar(&c.WebPlain, "web-plain", false, "Serve it without TLS where others reach it, too")
	c.watchConfig.flags(f)
	f.StringVar(&c.LogDriver, "log-driver", c.LogDriver, "How containers' output is kept by default: json-file, local, none, syslog, journald, fluentd or gelf")
	f.Var(mapFlag(c.LogOpts), "log-opt", "A default key=value option of the log driver")
	f.BoolVar(&c.Init, "init", false, "Run an init in every container that does not say otherwise")
	f.Var(&c.ShmSize, "default-shm-size", "The default size of /dev/shm")
	f.Var(ulimitFlag(c.Ulimits), "default-ulimit", "A default NAME=SOFT[:HARD] limit of containers' processes")
	f.StringVar(&c.IpcMode, "default-ipc-mode", "", "The default IPC mode: shareable or private (default private)")
	f.StringVar(&c.CgroupnsMode, "default-cgroupns-mode", "", "The default cgroup namespace: host or private (default private with cgroup v2, else host)")
	f.StringVar(&c.Remap, "userns-remap", "", "Give containers user ids of their own: `USER[:GROUP]` whose ranges of /etc/subuid and /etc/subgid they get, or \"default\"")
	f.StringVar(&c.CgroupParent, "cgroup-parent", c.CgroupParent, "The cgroup below which containers are")
	f.Int64Var(&c.RtPeriod, "cpu-rt-period", 0, "Microseconds of the real-time scheduler's period for all containers (cgroup v1)")
	f.Int64Var(&c.RtRuntime, "cpu-rt-runtime", 0, "Microseconds of it that all containers together may have (cgroup v1)")
	f.BoolVar(&c.NoNewPrivs, "no-new-privileges", false, "Let no process of a container gain privileges, by default")
	f.StringVar(&c.Seccomp, "seccomp-profile", c.Seccomp, "The default seccomp profile: builtin, unconfined or a file")
	f.StringVar(&c.Runtime, "default-runtime", c.Runtime, "The runtime of containers that name none; runc is lighter's own")
	f.Var(c.Runtimes, "add-runtime", "An OCI runtime that containers may name (--runtime): NAME=PATH; may be given several times")
	f.StringVarP(&c.StorageDriver, "storage-driver", "s", "", "How layers are kept: overlay2")
	f.StringArrayVar(&c.ExecOpts, "exec-opt", nil, "native.cgroupdriver=cgroupfs")
	f.BoolVar(&c.LiveRestore, "live-restore", true, "Containers live on while no engine runs, as always")
	c.Net.flags(f)
	c.registryConfig.flags(f)
	f.StringVar(&c.Keeper, "keeper", "", "The lighter program that keeps the containers (default beside lighterd, or in PATH)")
	f.StringVar(&c.file, "config-file", c.file, "A JSON file with the same options")
	f.BoolVar(&c.validate, "validate", false, "Check the configuration and exit")
	f.BoolVarP(&c.version, "version", "v", false, "Show the version and exit")
	f.BoolVar(&c.help, "help", false, "Show this help and exit")
	return f
}

// fileKeys gives for each flag the key that it has in the file.
var fileKeys = map[string]string{
	"host": "hosts", "label": "labels", "log-opt": "log-opts", "default-ulimit": "default-ulimits", "add-runtime": "runtimes", "exec-opt": "exec-opts",
	"default-address-pool": "default-address-pools", "default-network-opt": "default-network-opts", "dns-opt": "dns-opts",
	"host-gateway-ip": "host-gateway-ips", "insecure-registry": "insecure-registries", "registry-mirror": "registry-mirrors",
}

// parse reads the command line and the file.
func parse(args []string) (*config, *pflag.FlagSet, error) {
	c := defaults()
	if rootless() {
		c.ofUser()
	}
	f := c.flags()
	if err := refuseLater(args, f); err != nil {
		return nil, f, err
	}
	if err := f.Parse(args); err != nil {
		return nil, f, err
	}
	if c.help || c.version {
		return c, f, nil
	}
	if f.NArg() > 0 {
		return nil, f, fmt.Errorf("lighterd takes no arguments: %q", f.Args())
	}
	if err := c.readFile(f); err != nil {
		return nil, f, err
	}
	return c, f, c.check()
}

// refuseLater looks for flags of dockerd's that are not taken yet, which pflag would
// only call unknown.
func refuseLater(args []string, f *pflag.FlagSet) error {
	for _, arg := range args {
		long, ok := strings.CutPrefix(arg, "--")
		if arg == "--" {
			return nil
		}
		name, _, _ := strings.Cut(long, "=")
		if !ok || f.Lookup(name) != nil {
			continue
		}
		if reason, ok := whyNot(name); ok {
			return fmt.Errorf("--%s is not taken: %s", name, reason)
		}
	}
	return nil
}

// readFile adds what the file says. An option may be in one of the two places only.
func (c *config) readFile(f *pflag.FlagSet) error {
	b, err := os.ReadFile(c.file)
	if errors.Is(err, os.ErrNotExist) && !f.Changed("config-file") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(b, &keys); err != nil {
		return fmt.Errorf("read the configuration: %s: %w", c.file, err)
	}
	for key := range keys {
		if reason, ok := whyNot(key); ok {
			return fmt.Errorf("%s: %q is not taken: %s", c.file, key, reason)
		}
	}
	var twice []string
	f.Visit(func(fl *pflag.Flag) {
		key := fl.Name
		if k, ok := fileKeys[key]; ok {
			key = k
		}
		if raw, ok := keys[key]; ok {
			twice = append(twice, fmt.Sprintf("%s: (from flag: %s, from file: %s)", key, fl.Value, raw))
		}
	})
	if len(twice) > 0 {
		slices.Sort(twice)
		return fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(twice, ", "))
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	both := struct {
		*config
		*netConfig
	}{c, &c.Net}
	if err := dec.Decode(&both); err != nil {
		return fmt.Errorf("read the configuration: %s: %s", c.file, strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// check refuses what cannot be meant, and fills in what follows from the rest.
func (c *config) check() error {
	for _, p := range []*string{&c.Root, &c.ExecRoot} {
		abs, err := filepath.Abs(*p)
		if err != nil || *p == "" {
			return fmt.Errorf("%q is no folder for the engine's state", *p)
		}
		*p = abs
	}
	if c.Root == c.ExecRoot {
		return fmt.Errorf("the data root and the exec root must differ: both are %s", c.Root)
	}
	if c.Pidfile == "" {
		c.Pidfile = filepath.Join(c.ExecRoot, "lighterd.pid")
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []string{c.host}
	}
	for _, l := range c.Labels {
		if key, _, ok := strings.Cut(l, "="); !ok || key == "" {
			return fmt.Errorf("bad attribute format: %s", l)
		}
	}
	for _, row := range []struct {
		what, got string
		allowed   []string
	}{
		{"log level", c.LogLevel, []string{"debug", "info", "warn", "error", "fatal"}},
		{"log format", c.LogFormat, []string{"text", "json"}},
		{"log driver", c.LogDriver, container.LogDrivers()},
		{"IPC mode", c.IpcMode, []string{"", "shareable", "private"}},
		{"cgroup namespace mode", c.CgroupnsMode, []string{"", "host", "private"}},
		{"storage driver", c.StorageDriver, []string{"", "overlay2", "overlay"}},
	} {
		if !slices.Contains(row.allowed, row.got) {
			return fmt.Errorf("unknown %s %q: it is one of %s", row.what, row.got, strings.TrimPrefix(strings.Join(row.allowed, ", "), ", "))
		}
	}
	if err := (&container.LogDefaults{Driver: c.LogDriver, Options: c.LogOpts}).Check(); err != nil {
		return err
	}
	for _, o := range c.ExecOpts {
		if o != "native.cgroupdriver=cgroupfs" {
			return fmt.Errorf("unknown exec-opt %q: there is native.cgroupdriver=cgroupfs", o)
		}
	}
	if !c.LiveRestore {
		return errors.New("live-restore cannot be false: containers of lighter live on while no engine runs")
	}
	if c.Debug {
		c.LogLevel = "debug"
	}
	_, policyErr := c.watchConfig.load()
	if err := errors.Join(c.checkUser(), c.readProfile(), c.checkRuntimes(), policyErr); err != nil {
		return err
	}
	if _, err := c.Net.settings(c.ExecRoot, ""); err != nil {
		return err
	}
	if _, err := c.Builder.GC.rules(0); err != nil {
		return err
	}
	if err := c.checkHosts(); err != nil {
		return err
	}
	return c.checkWeb()
}

// defaults is what containers get where nothing is said.
func (c *config) defaults() container.Defaults {
	d := container.Defaults{
		ShmSize: int64(c.ShmSize), IpcMode: c.IpcMode, CgroupnsMode: c.CgroupnsMode,
		DNS: c.Net.DNS, DNSSearch: c.Net.DNSSearch, DNSOptions: c.Net.DNSOpts, Init: c.Init, NoNewPrivileges: c.NoNewPrivs, Seccomp: c.profile,
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ulimits)) {
		d.Ulimits = append(d.Ulimits, c.Ulimits[name])
	}
	return d
}

// readProfile reads the default seccomp profile, which must at least be JSON.
func (c *config) readProfile() error {
	switch c.Seccomp {
	case "", "builtin":
		c.Seccomp = "builtin"
		return nil
	case "unconfined":
		c.profile = c.Seccomp
		return nil
	}
	b, err := os.ReadFile(c.Seccomp)
	if err != nil {
		return fmt.Errorf("read the seccomp profile: %w", err)
	}
	if !json.Valid(b) {
		return fmt.Errorf("read the seccomp profile: %s is no JSON", c.Seccomp)
	}
	c.profile = string(b)
	return nil
}

// level is the level of slog that the log level means.
func (c *config) level() slog.Level {
	switch c.LogLevel {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	case "fatal":
		return slog.LevelError + 4
	}
	return slog.LevelInfo
}
