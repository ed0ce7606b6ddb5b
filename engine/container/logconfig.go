package container

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"lighter/api"
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

// foreignDrivers are Docker's log drivers that this engine does not have.
var foreignDrivers = []string{"syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs", "logentries"}

var logOptions = map[string][]string{
	"json-file": {"max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"},
	"local":     {"max-file", "max-size", "compress"},
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
	if l.Type == driver {
		for k, v := range d.Options {
			if _, set := l.Config[k]; !set {
				l.Config[k] = v
			}
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
		if _, err := parseSize(size); err != nil {
			return invalid("error parsing option max-buffer-size: %w", err)
		}
	}
	known, ok := logOptions[l.Type]
	if !ok && slices.Contains(foreignDrivers, l.Type) {
		return api.Errorf(api.NotImplemented, "log driver %q is not built yet", l.Type)
	}
	if !ok {
		return invalid("error looking up logging plugin %[1]s: plugin %[1]q not found", l.Type)
	}
	for _, key := range slices.Sorted(maps.Keys(l.Config)) {
		if key != "mode" && key != "max-buffer-size" && !slices.Contains(known, key) {
			if l.Type == "local" {
				return invalid("unknown log opt '%s' for log driver local", key)
			}
			return invalid("unknown log opt '%s' for %s log driver", key, l.Type)
		}
	}
	return nil
}

// log is where and how the keeper writes what the container prints.
func (d *LogDefaults) log(c *container, s *snapshot) (task.Log, error) {
	conf := s.Host.LogConfig
	l := task.Log{Driver: conf.Type, Path: c.logPath(), MaxFiles: 1}
	fail := func(err error) (task.Log, error) {
		return l, api.Errorf(api.Internal, "failed to create task for container: failed to initialize logging driver: %w", err)
	}
	switch conf.Type {
	case "none":
		l.Path = ""
		return l, nil
	case "local":
		l.MaxSize, l.MaxFiles, l.Compress = 20<<20, 5, true
	case "json-file":
		if _, set := conf.Config["max-size"]; !set && d.MaxSize > 0 {
			l.MaxSize, l.MaxFiles = d.MaxSize, max(d.MaxFiles, 1)
		}
	}
	var err error
	if v, set := conf.Config["max-size"]; set {
		if l.MaxSize, err = parseSize(v); err != nil {
			return fail(err)
		}
	}
	if v, set := conf.Config["max-file"]; set {
		if l.MaxFiles, err = strconv.Atoi(v); err != nil {
			return fail(err)
		}
		if l.MaxFiles < 1 {
			return fail(invalid("max-file cannot be less than 1"))
		}
	}
	if v, set := conf.Config["compress"]; set {
		if l.Compress, err = strconv.ParseBool(v); err != nil {
			return fail(err)
		}
	}
	if l.Attrs, err = logAttrs(s); err != nil {
		return fail(err)
	}
	return l, nil
}

// logAttrs picks the labels and variables, and makes the tag, that each line of the log carries.
func logAttrs(s *snapshot) (map[string]string, error) {
	conf := s.Host.LogConfig.Config
	attrs := map[string]string{}
	env := map[string]string{}
	for _, e := range s.Config.Env {
		if k, v, ok := strings.Cut(e, "="); ok {
			env[k] = v
		}
	}
	for _, row := range []struct {
		key  string
		from map[string]string
	}{{"labels", s.Config.Labels}, {"env", env}} {
		for k := range strings.SplitSeq(conf[row.key], ",") {
			if v, ok := row.from[k]; ok {
				attrs[k] = v
			}
		}
		if expr := conf[row.key+"-regex"]; expr != "" {
			re, err := regexp.Compile(expr)
			if err != nil {
				return nil, err
			}
			for k, v := range row.from {
				if re.MatchString(k) {
					attrs[k] = v
				}
			}
		}
	}
	if tag := conf["tag"]; tag != "" {
		t, err := template.New("log-tag").Parse(tag)
		if err != nil {
			return nil, err
		}
		path, args := command(s.Config)
		var b bytes.Buffer
		err = t.Execute(&b, map[string]string{
			"ID": short(s.ID), "FullID": s.ID, "Name": s.Name, "ImageID": short(strings.TrimPrefix(s.Image, "sha256:")),
			"ImageFullID": s.Image, "ImageName": s.Config.Image, "DaemonName": "docker", "Command": strings.Join(append([]string{path}, args...), " "),
		})
		if err != nil {
			return nil, err
		}
		attrs["tag"] = b.String()
	}
	if len(attrs) == 0 {
		return nil, nil
	}
	return attrs, nil
}

// parseSize reads a size with a binary unit: 10m, 1.5GB, 4096.
func parseSize(s string) (int64, error) {
	bad := invalid("invalid size: '%s'", s)
	digits := strings.TrimRight(s, " kKmMgGtTpPiIbB")
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 {
		return 0, bad
	}
	unit := strings.ToLower(strings.TrimSpace(s[len(digits):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	if len(unit) > 1 {
		return 0, bad
	}
	if unit != "" {
		for range strings.Index("kmgtp", unit) + 1 {
			n *= 1024
		}
	}
	if n >= 1<<63 {
		return 0, bad
	}
	return int64(n), nil
}

func (c *container) logPath() string { return c.path(c.id + "-json.log") }
