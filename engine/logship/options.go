package logship

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// driver is one kind of log server.
type driver struct {
	unknown string   // what is said of an option that it does not have: %[1]s is the option
	options []string // beside the common ones
	check   func(map[string]string) error
	open    func(context.Context, *Info) (sender, error)
}

// drivers is a function's table so that nothing is made before it is asked for.
var drivers = map[string]driver{
	"syslog": {
		"unknown log opt '%s' for syslog log driver", []string{
			"syslog-address", "syslog-facility", "syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key",
			"syslog-tls-skip-verify", "syslog-format",
		}, checkSyslog, openSyslog,
	},
	"journald": {"unknown log opt '%s' for journald log driver", nil, func(map[string]string) error { return nil }, openJournald},
	"fluentd": {
		"unknown log opt '%s' for fluentd log driver", []string{
			"fluentd-address", "fluentd-async", "fluentd-async-reconnect-interval", "fluentd-buffer-limit",
			"fluentd-max-retries", "fluentd-request-ack", "fluentd-retry-wait", "fluentd-sub-second-precision", "fluentd-write-timeout",
		}, checkFluentd, openFluentd,
	},
	"gelf": {
		"unknown log opt %q for gelf log driver", []string{
			"gelf-address", "gelf-compression-level", "gelf-compression-type", "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay",
		}, checkGelf, openGelf,
	},
}

// common are the options that each driver has.
var common = []string{"env", "env-regex", "labels", "labels-regex", "tag"}

// Drivers are the log drivers that ship, in order.
func Drivers() []string { return []string{"fluentd", "gelf", "journald", "syslog"} }

// Remote says whether a driver ships.
func Remote(name string) bool { return slices.Contains(Drivers(), name) }

// Generic says whether an option is for every driver: it is of how a log is handled here.
func Generic(key string) bool {
	switch key {
	case "mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress":
		return true
	}
	return false
}

// Validate checks a driver's own options as Docker does when a container is made.
func Validate(name string, config map[string]string) error {
	d := drivers[name]
	if name == "gelf" { // which looks at its address before all
		if _, err := gelfAddress(config["gelf-address"]); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if !Generic(key) && !slices.Contains(common, key) && !slices.Contains(d.options, key) {
			return fmt.Errorf(d.unknown, key)
		}
	}
	return d.check(config)
}

// options are those of how a ship sails.
type options struct {
	buffer int64 // bytes that may wait, 0 for what the cache holds
}

func parseOptions(config map[string]string) (o options, err error) {
	if config["mode"] == "non-blocking" {
		if v, set := config["max-buffer-size"]; set {
			if o.buffer, err = ParseSize(v, 1024); err != nil {
				return o, err
			}
			o.buffer = max(o.buffer, 1)
		}
	}
	return o, nil
}

// ParseSize reads a size such as 10m, 1.5GB or 4096, with units of 1000 or 1024 to the
// power of their place.
func ParseSize(s string, base float64) (int64, error) {
	bad := fmt.Errorf("invalid size: '%s'", s)
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
			n *= base
		}
	}
	if n >= 1<<63 {
		return 0, bad
	}
	return int64(n), nil
}
