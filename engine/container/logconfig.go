package container

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
	"lighter/engine/logship"
	"lighter/store/logfile"
	"lighter/task"
)

// LogDefaults is what a container's log is when nobody says otherwise.
type LogDefaults struct {
	Driver  string            // json-file when empty
	Options map[string]string // shown by inspect, as if they had been asked for
	// MaxSize (bytes) and MaxFiles bound a json-file log that has no bound of its own.
	// They are not shown. A MaxSize of 0 means no bound, as in Docker.
	MaxSize  int64
	MaxFiles int
}

var logOptions = map[string][]string{
	"json-file": {"max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"},
	"local":     {"max-file", "max-size", "compress"},
}

// LogDrivers are the log drivers there are, in order.
func LogDrivers() []string {
	return slices.Sorted(slices.Values(append(logship.Drivers(), logfile.Drivers()...)))
}

// Check refuses defaults that no container could have.
func (d *LogDefaults) Check() error {
	l := api.LogConfig{}
	if err := d.mergeLog(&l); err != nil {
		return fmt.Errorf("the default log driver: %w", err)
	}
	return nil
}

// mergeLog fills in the defaults of a log config and checks it as Docker does at create.
func (d *LogDefaults) mergeLog(l *api.LogConfig) error {
	driver := d.Driver
	if driver == "" {
		driver = "json-file"
	}
	if l.Type == "" {
		l.Type = driver
	}
	l.Config = maps.Clone(l.Config)
	if l.Config == nil {
		l.Config = map[string]string{}
	}
	for k, v := range d.Options {
		if _, set := l.Config[k]; !set && (l.Type == driver || strings.HasPrefix(k, "cache-")) {
			l.Config[k] = v
		}
	}
	if l.Type == "none" {
		return nil
	}
	switch mode := l.Config["mode"]; mode {
	case "", "blocking", "non-blocking": // a file never makes a container wait for a network
	default:
		return invalid("logger: logging mode not supported: %s", mode)
	}
	if size, set := l.Config["max-buffer-size"]; set {
		if l.Config["mode"] != "non-blocking" {
			return invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
		}
		if _, err := logship.ParseSize(size, 1024); err != nil {
			return invalid("error parsing option max-buffer-size: %w", err)
		}
	}
	if v := l.Config["cache-disabled"]; v != "" {
		if _, err := strconv.ParseBool(v); err != nil {
			return invalid("invalid value for option cache-disabled: %s", v)
		}
	}
	if logship.Remote(l.Type) {
		if err := logship.Validate(l.Type, l.Config); err != nil {
			return invalid("%w", err)
		}
		return nil
	}
	known, ok := logOptions[l.Type]
	if !ok {
		return invalid("error looking up logging plugin %[1]s: plugin %[1]q not found", l.Type)
	}
	for _, key := range slices.Sorted(maps.Keys(l.Config)) {
		if !logship.Generic(key) && !slices.Contains(known, key) {
			if l.Type == "local" {
				return invalid("unknown log opt '%s' for log driver local", key)
			}
			return invalid("unknown log opt '%s' for %s log driver", key, l.Type)
		}
	}
	return nil
}

// What a log is bounded by whose driver has bounds of its own: the file of `local`, the
// cache of a remote driver, and what lies on disk until it is sent where there is no cache.
const (
	localSize, localFiles = 20 << 20, 5
	spoolSize, spoolFiles = 4 << 20, 2
)

// log is where and how the keeper writes what the container prints.
func (d *LogDefaults) log(c *container, s *snapshot) (task.Log, error) {
	conf := s.Host.LogConfig
	l := task.Log{Driver: conf.Type, Path: c.logPath(), MaxFiles: 1}
	var err error
	switch {
	case conf.Type == "none":
		l.Path = ""
		return l, nil
	case conf.Type == "local":
		l.MaxSize, l.MaxFiles, l.Compress = localSize, localFiles, true
		err = bounds(&l, conf.Config, "")
	case conf.Type == "json-file":
		if _, set := conf.Config["max-size"]; !set && d.MaxSize > 0 {
			l.MaxSize, l.MaxFiles = d.MaxSize, max(d.MaxFiles, 1)
		}
		if err = bounds(&l, conf.Config, ""); err == nil {
			l.Attrs, err = logAttrs(c, s)
		}
	default:
		l.Driver = "local"
		l.MaxSize, l.MaxFiles, l.Compress = localSize, localFiles, true
		if uncached(conf) {
			l.MaxSize, l.MaxFiles, l.Compress = spoolSize, spoolFiles, false
		} else if err = bounds(&l, conf.Config, "cache-"); err == nil {
			// `logs --details` shows what was picked, as from any other log.
			l.Attrs, err = logInfo(c, s).ExtraAttributes(nil)
		}
		if conf.Config["mode"] != "non-blocking" {
			l.Mark = markPath(c)
		}
	}
	return l, err
}

// uncached says whether the log of a remote driver is not to be read here.
func uncached(conf api.LogConfig) bool {
	off, err := strconv.ParseBool(conf.Config["cache-disabled"])
	return err == nil && off
}

// bounds reads the options of size, number and compression.
func bounds(l *task.Log, conf map[string]string, prefix string) (err error) {
	wordy := func(what string, err error) error {
		if l.Driver == "json-file" {
			return err
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if v, set := conf[prefix+"max-size"]; set {
		if l.MaxSize, err = logship.ParseSize(v, 1000); err != nil {
			return wordy("invalid value for max-size: "+v, err)
		}
		if l.MaxSize <= 0 {
			return invalid("max-size must be a positive number")
		}
	}
	if v, set := conf[prefix+"max-file"]; set {
		if l.MaxFiles, err = strconv.Atoi(v); err != nil {
			return wordy("invalid value for max-file: "+v, err)
		}
		if l.MaxFiles < 1 {
			return invalid("max-file cannot be less than 1")
		}
	}
	if v, set := conf[prefix+"compress"]; set {
		if l.Compress, err = strconv.ParseBool(v); err != nil {
			return wordy("error reading compress log option", err)
		}
	}
	if _, sized := conf["max-size"]; l.Compress && l.Driver == "json-file" && !sized {
		l.MaxSize = 0 // a bound that nobody asked for does not count
	}
	if l.Compress && (l.MaxFiles < 2 || l.MaxSize <= 0) {
		if l.Driver == "json-file" {
			return invalid("compress cannot be true when max-file is less than 2 or max-size is not set")
		}
		return invalid("compression cannot be enabled when max file count is 1")
	}
	return nil
}

// logAttrs picks the labels and variables, and makes the tag, that each line of the log carries.
func logAttrs(c *container, s *snapshot) (map[string]string, error) {
	if len(s.Host.LogConfig.Config) == 0 {
		return nil, nil
	}
	info := logInfo(c, s)
	attrs, err := info.ExtraAttributes(nil)
	if err != nil {
		return nil, err
	}
	tag, err := info.Tag("")
	if err != nil {
		return nil, err
	}
	if tag != "" {
		attrs["tag"] = tag
	}
	if len(attrs) == 0 {
		return nil, nil
	}
	return attrs, nil
}

// logInfo is what log drivers may tell of the container.
func logInfo(c *container, s *snapshot) *logship.Info {
	path, args := command(s.Config)
	return &logship.Info{
		Driver: s.Host.LogConfig.Type, Config: s.Host.LogConfig.Config, ContainerID: s.ID, ContainerName: "/" + s.Name,
		ContainerEntrypoint: path, ContainerArgs: args, ContainerImageID: s.Image, ContainerImageName: s.Config.Image,
		ContainerCreated: s.Created, ContainerEnv: s.Config.Env, ContainerLabels: s.Config.Labels,
		LogPath: c.logPath(), DaemonName: "docker",
	}
}

// remote says whether the container's log is shipped.
func (s *snapshot) remote() bool { return logship.Remote(s.Host.LogConfig.Type) }

// shipment is the container's log on its way to a server.
func shipment(c *container, s *snapshot) logship.Job {
	return logship.Job{Info: *logInfo(c, s), Cache: c.logPath(), Mark: markPath(c)}
}

func (c *container) logPath() string {
	if c.now().remote() {
		return c.path("container-cached.log")
	}
	return c.path(c.id + "-json.log")
}

func markPath(c *container) string { return c.path("container-cached.sent") }

// readable says whether there is a log to read.
func (s *snapshot) readable() error {
	conf := s.Host.LogConfig
	if conf.Type == "none" || s.remote() && uncached(conf) {
		return api.Errorf(api.NotImplemented, "configured logging driver does not support reading")
	}
	return nil
}
