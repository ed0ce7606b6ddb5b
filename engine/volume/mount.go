package volume

import (
	"fmt"

	"github.com/docker/go-units"

	"lighter/api"
)

// Mount gives the folder of a volume's content to a container that is about to use it.
// The first one to do so has the file system of a volume with options mounted there;
// the last one to Unmount has it taken away. A second Mount by the same container, as
// after a restart of the engine, changes nothing.
func (vs *Volumes) Mount(name, container string) (string, error) {
	v, err := vs.find(name)
	if err != nil {
		return "", err
	}
	if len(v.Options) == 0 {
		return v.data(), nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone {
		return "", api.Errorf(api.NotFound, "get %s: no such volume", name)
	}
	if v.mounts() {
		there, err := vs.Machine.Mounted(v.data())
		if err == nil && !there {
			err = vs.Machine.Mount(v.data(), v.Options["type"], v.Options["device"], v.Options["o"])
		}
		if err != nil {
			return "", api.Errorf(api.Internal, "error while mounting volume '%s': %w", v.data(), err)
		}
	}
	if size, err := units.RAMInBytes(v.Options["size"]); err == nil && size > 0 {
		if err := vs.Machine.Limit(v.data(), v.Project, uint64(size)); err != nil {
			return "", api.Errorf(api.Internal, "error while mounting volume '%s': %w", v.data(), err)
		}
	}
	if v.mounts() {
		v.active[container] = true
	}
	return v.data(), nil
}

// Unmount ends a container's use. One that does not use it, or a volume that is gone,
// is no error.
func (vs *Volumes) Unmount(name, container string) error {
	v, err := vs.find(name)
	if err != nil || !v.mounts() {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.active, container)
	if len(v.active) > 0 {
		return nil
	}
	if err := vs.Machine.Unmount(v.data()); err != nil {
		return fmt.Errorf("unmount volume %s: %w", name, err)
	}
	return nil
}

// Plain reports whether a volume is a folder and no more: nothing is mounted for it.
func (vs *Volumes) Plain(name string) bool {
	v, err := vs.find(name)
	return err != nil || !v.mounts()
}

// Keep keeps a volume for a container whose record names it.
func (vs *Volumes) Keep(name, container string) error {
	if vs.keep(name, container) == nil {
		_, err := vs.find(name)
		return err
	}
	return nil
}

// Release takes back one Use or Keep.
func (vs *Volumes) Release(name, container string) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.all[name]
	if v == nil {
		return
	}
	if v.users[container]--; v.users[container] <= 0 {
		delete(v.users, container)
	}
}

// Blind tells of a container of which nobody can read what it uses: no volume is pruned
// as long as it is there.
func (vs *Volumes) Blind(container string) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.blind[container] = true
}
