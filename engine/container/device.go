package container

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

func device(allow bool, kind string, major, minor int64) specs.LinuxDeviceCgroup {
	return specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: &major, Minor: &minor, Access: "rwm"}
}

// defaultDevices is what the devices cgroup lets every container use; the runtime
// makes the nodes of these by itself.
func defaultDevices() []specs.LinuxDeviceCgroup {
	return []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		device(true, "c", 1, 5), device(true, "c", 1, 3), device(true, "c", 1, 9), device(true, "c", 1, 8),
		device(true, "c", 5, 0), device(true, "c", 5, 1), device(false, "c", 10, 229),
	}
}

// devices gives the nodes and the rules of a container.
func (d *Deps) devices(h *api.HostConfig) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	var nodes []specs.LinuxDevice
	rules := defaultDevices()
	if h.Privileged {
		all, err := d.Rootfs.Devices("/dev")
		if err != nil {
			return nil, nil, fmt.Errorf("list the host's devices: %w", err)
		}
		nodes, rules = all, append(rules, specs.LinuxDeviceCgroup{Allow: true, Access: "rwm"})
	}
	for _, m := range h.Devices {
		if h.Privileged && m.PathOnHost == m.PathInContainer {
			continue // it is there already
		}
		found, err := d.Rootfs.Devices(m.PathOnHost)
		if err != nil {
			return nil, nil, fmt.Errorf("error gathering device information while adding custom device %q: %w", m.PathOnHost, bare(err))
		}
		for _, n := range found {
			n.Path = m.PathInContainer + strings.TrimPrefix(n.Path, m.PathOnHost)
			nodes = append(nodes, n)
			if !h.Privileged {
				rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: n.Type, Major: &n.Major, Minor: &n.Minor, Access: m.CgroupPermissions})
			}
		}
	}
	if !h.Privileged {
		for _, r := range h.DeviceCgroupRules {
			rule, err := parseDeviceRule(r)
			if err != nil {
				return nil, nil, err
			}
			rules = append(rules, rule)
		}
	}
	return nodes, rules, nil
}

// bare takes what was done to which file off an error that is about to say it better.
func bare(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// blockIO fills in the limits of block devices.
func blockIO(fs Rootfs, out *specs.LinuxResources, r *api.Resources) error {
	io := &specs.LinuxBlockIO{}
	if r.BlkioWeight != 0 {
		io.Weight = &r.BlkioWeight
	}
	for _, w := range r.BlkioWeightDevice {
		d, err := one(fs, w.Path)
		if err != nil {
			return err
		}
		wd := specs.LinuxWeightDevice{Weight: &w.Weight}
		wd.Major, wd.Minor = d.Major, d.Minor
		io.WeightDevice = append(io.WeightDevice, wd)
	}
	for _, row := range []struct {
		from []api.ThrottleDevice
		to   *[]specs.LinuxThrottleDevice
	}{
		{r.BlkioDeviceReadBps, &io.ThrottleReadBpsDevice}, {r.BlkioDeviceWriteBps, &io.ThrottleWriteBpsDevice},
		{r.BlkioDeviceReadIOps, &io.ThrottleReadIOPSDevice}, {r.BlkioDeviceWriteIOps, &io.ThrottleWriteIOPSDevice},
	} {
		for _, t := range row.from {
			d, err := one(fs, t.Path)
			if err != nil {
				return err
			}
			td := specs.LinuxThrottleDevice{Rate: t.Rate}
			td.Major, td.Minor = d.Major, d.Minor
			*row.to = append(*row.to, td)
		}
	}
	if io.Weight != nil || len(io.WeightDevice)+len(io.ThrottleReadBpsDevice)+len(io.ThrottleWriteBpsDevice)+len(io.ThrottleReadIOPSDevice)+len(io.ThrottleWriteIOPSDevice) > 0 {
		out.BlockIO = io
	}
	return nil
}

func one(fs Rootfs, path string) (specs.LinuxDevice, error) {
	found, err := fs.Devices(path)
	if err == nil && len(found) != 1 {
		err = os.ErrInvalid
	}
	if err != nil {
		return specs.LinuxDevice{}, fmt.Errorf("stat %s: %w", path, bare(err))
	}
	return found[0], nil
}
