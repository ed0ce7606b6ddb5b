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
