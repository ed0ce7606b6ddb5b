package container

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"lighter/api"
)

// tmpfsData turns the API's options into mount options.
func tmpfsData(o *api.TmpfsOptions, readOnly bool) (data []string, err error) {
	if readOnly {
		data = append(data, "ro")
	}
	if o == nil {
		return data, nil
	}
	if o.Mode != 0 {
		data = append(data, fmt.Sprintf("mode=%o", o.Mode))
	}
	if o.SizeBytes != 0 {
		data = append(data, fmt.Sprintf("size=%d", o.SizeBytes))
	}
	for _, opt := range o.Options {
		switch {
		case len(opt) < 1 || len(opt) > 2:
			return nil, errors.New("invalid option array length")
		case opt[0] != "exec" && opt[0] != "noexec":
			return nil, errors.New("invalid option: " + opt[0])
		}
		data = append(data, strings.Join(opt, "="))
	}
	return data, nil
}

// tmpfsOptions lays the user's options over the defaults: the last of a kind counts.
func tmpfsOptions(data []string) []string {
	opposite := map[string]string{"exec": "noexec", "suid": "nosuid", "dev": "nodev", "rw": "ro"}
	for k, v := range map[string]string{"exec": "noexec", "suid": "nosuid", "dev": "nodev", "rw": "ro"} {
		opposite[v] = k
	}
	options := []string{"noexec", "nosuid", "nodev", "rprivate"}
	for _, o := range data {
		if o == "" {
			continue
		}
		key, _, valued := strings.Cut(o, "=")
		options = slices.DeleteFunc(options, func(have string) bool {
			return have == o || have == opposite[o] || valued && strings.HasPrefix(have, key+"=") ||
				slices.Contains(propagations, o) && slices.Contains(propagations, have)
		})
		options = append(options, o)
	}
	return options
}

// The options of a tmpfs: flags that any mount has, and what takes a value.
var (
	mountFlags = strings.Fields(`defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync remount mand nomand atime noatime
		diratime nodiratime bind rbind unbindable runbindable private rprivate shared rshared slave rslave relatime norelatime
		strictatime nostrictatime`)
	tmpfsValues = strings.Fields(`size mode uid gid nr_inodes nr_blocks mpol`)
)

// knownTmpfs refuses options that a tmpfs does not know.
func knownTmpfs(options []string) error {
	for _, o := range options {
		key, _, valued := strings.Cut(o, "=")
		if !slices.Contains(mountFlags, o) && !(valued && slices.Contains(tmpfsValues, key)) {
			return api.Errorf(api.Internal, "invalid tmpfs option %q", key)
		}
	}
	return nil
}
