package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"lighter/api"
)

// mountFlag collects mounts, each written as fields: type=bind,source=/a,target=/b.
type mountFlag struct {
	values []api.Mount
	warn   func(format string, args ...any)
}

func (*mountFlag) Type() string { return "mount" }
func (m *mountFlag) String() string {
	words := make([]string, len(m.values))
	for i, v := range m.values {
		words[i] = fmt.Sprintf("%s %s %s", v.Type, v.Source, v.Target)
	}
	return strings.Join(words, ", ")
}

func (m *mountFlag) Set(s string) error {
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return err
	}
	v := api.Mount{Type: "volume"}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		key = strings.ToLower(key)
		if !ok {
			switch key {
			case "readonly", "ro", "volume-nocopy", "bind-nonrecursive":
				value = "true"
			default:
				return fmt.Errorf("invalid field '%s' must be a key=value pair", field)
			}
		} else if key == "bind-nonrecursive" {
			m.warn("bind-nonrecursive is deprecated, use bind-recursive=disabled instead")
		}
		if err := setMount(&v, key, value, field); err != nil {
			return err
		}
	}
	if err := checkMount(v); err != nil {
		return err
	}
	m.values = append(m.values, v)
	return nil
}

// setMount takes one field.
func setMount(m *api.Mount, key, value, field string) (err error) {
	invalid := func(err error) error {
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
		return nil
	}
	switch key {
	case "type":
		m.Type = strings.ToLower(value)
	case "source", "src":
		m.Source = value
		if strings.HasPrefix(value, ".") {
			if abs, err := filepath.Abs(value); err == nil {
				m.Source = abs
			}
		}
	case "target", "dst", "destination":
		m.Target = value
	case "readonly", "ro":
		m.ReadOnly, err = strconv.ParseBool(value)
		return invalid(err)
	case "consistency":
		m.Consistency = strings.ToLower(value)
	case "bind-propagation", "bind-nonrecursive", "bind-recursive":
		return setBind(m, key, value)
	case "volume-subpath", "volume-nocopy", "volume-label", "volume-driver", "volume-opt":
		return setVolume(m, key, value)
	case "image-subpath":
		m.ImageOptions = &api.ImageOptions{Subpath: value}
	case "tmpfs-size", "tmpfs-mode":
		if m.TmpfsOptions == nil {
			m.TmpfsOptions = &api.TmpfsOptions{}
		}
		if key == "tmpfs-size" {
			m.TmpfsOptions.SizeBytes, err = units.RAMInBytes(value)
			return invalid(err)
		}
		mode, err := strconv.ParseUint(value, 8, 32)
		m.TmpfsOptions.Mode = uint32(mode)
		return invalid(err)
	default:
		return fmt.Errorf("unexpected key '%s' in '%s'", key, field)
	}
	return nil
}

func setBind(m *api.Mount, key, value string) (err error) {
	if key == "bind-recursive" && value == "enabled" {
		return nil
	}
	if m.BindOptions == nil {
		m.BindOptions = &api.BindOptions{}
	}
	o := m.BindOptions
	switch {
	case key == "bind-propagation":
		o.Propagation = strings.ToLower(value)
	case key == "bind-nonrecursive":
		if o.NonRecursive, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
	case value == "disabled":
		o.NonRecursive = true
	case value == "writable":
		o.ReadOnlyNonRecursive = true
	case value == "readonly":
		o.ReadOnlyForceRecursive = true
	default:
		return fmt.Errorf(`invalid value for %s: %s (must be "enabled", "disabled", "writable", or "readonly")`, key, value)
	}
	return nil
}

func setVolume(m *api.Mount, key, value string) (err error) {
	if m.VolumeOptions == nil {
		m.VolumeOptions = &api.VolumeOptions{Labels: map[string]string{}, DriverConfig: &api.VolumeDriver{}}
	}
	o := m.VolumeOptions
	k, v, _ := strings.Cut(value, "=")
	switch key {
	case "volume-subpath":
		o.Subpath = value
	case "volume-nocopy":
		if o.NoCopy, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("invalid value for volume-nocopy: %s", value)
		}
	case "volume-label":
		if k != "" {
			o.Labels[k] = v
		}
	case "volume-driver":
		o.DriverConfig.Name = value
	case "volume-opt":
		if o.DriverConfig.Options == nil {
			o.DriverConfig.Options = map[string]string{}
		}
		if k != "" {
			o.DriverConfig.Options[k] = v
		}
	}
	return nil
}

// checkMount refuses fields that do not go together.
func checkMount(m api.Mount) error {
	mixed := func(has bool, kind string) error {
		if has && m.Type != kind {
			return fmt.Errorf("cannot mix '%s-*' options with mount type '%s'", kind, m.Type)
		}
		return nil
	}
	switch {
	case m.Type == "":
		return errors.New("type is required")
	case m.Target == "":
		return errors.New("target is required")
	}
	for _, err := range []error{
		mixed(m.VolumeOptions != nil, "volume"), mixed(m.ImageOptions != nil, "image"),
		mixed(m.BindOptions != nil, "bind"), mixed(m.TmpfsOptions != nil, "tmpfs"),
	} {
		if err != nil {
			return err
		}
	}
	if o := m.BindOptions; o != nil {
		switch {
		case o.ReadOnlyNonRecursive && !m.ReadOnly:
			return errors.New("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
		case o.ReadOnlyForceRecursive && !m.ReadOnly:
			return errors.New("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
		case o.ReadOnlyForceRecursive && o.Propagation != "rprivate":
			return errors.New("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
		}
	}
	return nil
}
