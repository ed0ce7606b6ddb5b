package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
	"lighter/store/archive"
)

// Remove removes a volume that no container has. With force, one that is not there is
// no error.
func (vs *Volumes) Remove(name string, force bool) error {
	v, err := vs.find(name)
	if err != nil {
		if force && api.Is(err, api.NotFound) {
			return nil
		}
		return err
	}
	return vs.remove(v)
}

func (vs *Volumes) remove(v *volume) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone {
		return api.Errorf(api.NotFound, "get %s: no such volume", v.Name)
	}
	if err := vs.forget(v); err != nil {
		return err
	}
	err := vs.clear(v)
	vs.mu.Lock()
	close(vs.going[v.Name])
	delete(vs.going, v.Name)
	if err != nil {
		vs.all[v.Name] = v
	}
	vs.mu.Unlock()
	if err != nil {
		return api.Errorf(api.Internal, "remove %s: %w", v.Name, err)
	}
	v.gone = true
	v.publish(vs.Events, "destroy")
	return nil
}

// forget takes a volume out of the list, so that nobody keeps it from here on.
func (vs *Volumes) forget(v *volume) error {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if len(v.users) > 0 {
		ids := slices.Sorted(maps.Keys(v.users))
		return api.Errorf(api.Conflict, "remove %s: volume is in use - [%s]", v.Name, strings.Join(ids, ", "))
	}
	delete(vs.all, v.Name)
	vs.going[v.Name] = make(chan struct{})
	return nil
}

// clear takes the volume's folder away. What is mounted on it is not the volume's own:
// as long as something is, nothing is deleted.
func (vs *Volumes) clear(v *volume) error {
	if err := vs.Machine.Unmount(v.data()); err != nil {
		return err
	}
	if there, err := vs.Machine.Mounted(v.data()); err != nil || there {
		return errors.Join(err, fmt.Errorf("something is mounted on %s: unmount it first", v.data()))
	}
	return vs.Trash(v.dir)
}

// Drop removes an anonymous volume with the last container that had it: while another
// has it, it stays.
func (vs *Volumes) Drop(name string) error {
	v, err := vs.find(name)
	if err != nil {
		return nil // gone already
	}
	if err := vs.remove(v); err != nil && !api.Is(err, api.Conflict) && !api.Is(err, api.NotFound) {
		return err
	}
	return nil
}

// Abandon removes the anonymous volumes of a container that never came to be.
func (vs *Volumes) Abandon(container string) error {
	var errs []error
	for _, v := range vs.list() {
		if v.Anonymous && v.For == container {
			errs = append(errs, vs.Drop(v.Name))
		}
	}
	return errors.Join(errs...)
}

// Prune removes the anonymous volumes that no container has; with the filter all, all
// that none has. Those with options stay: what they hold is not the engine's.
func (vs *Volumes) Prune(ctx context.Context, f api.Filters) (*api.VolumesPruned, error) {
	if !vs.pruning.CompareAndSwap(false, true) {
		return nil, api.Errorf(api.Conflict, "a prune operation is already running")
	}
	defer vs.pruning.Store(false)
	all, err := pruneAll(f)
	if err != nil {
		return nil, err
	}
	if err := f.Check("label", "label!", "all"); err != nil {
		return nil, err
	}
	if err := blinded(vs); err != nil {
		return nil, err
	}
	out := &api.VolumesPruned{VolumesDeleted: []string{}}
	for _, v := range vs.list() {
		if ctx.Err() != nil {
			break
		}
		_, anonymous := v.Labels[api.AnonymousLabel]
		if len(v.Options) > 0 || !all && !anonymous || !labelled(f, v) || vs.used(v) > 0 {
			continue
		}
		size, err := archive.Usage(v.data())
		if err != nil {
			slog.Warn("measure a volume", "volume", v.Name, "err", err)
		}
		if err := vs.remove(v); err != nil {
			if !api.Is(err, api.Conflict) && !api.Is(err, api.NotFound) {
				slog.Warn("prune a volume", "volume", v.Name, "err", err)
			}
			continue
		}
		out.SpaceReclaimed += uint64(max(size, 0))
		out.VolumesDeleted = append(out.VolumesDeleted, v.Name)
	}
	vs.Events.Publish("volume", "prune", "", map[string]string{"reclaimed": strconv.FormatUint(out.SpaceReclaimed, 10)})
	return out, nil
}

func (vs *Volumes) used(v *volume) int {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return len(v.users)
}

// blinded refuses to guess what a container uses whose record cannot be read.
func blinded(vs *Volumes) error {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for id := range vs.blind {
		return api.Errorf(api.Conflict, "volumes cannot be pruned: the record of container %s cannot be read, and it may use any of them; name those that are to go", id)
	}
	return nil
}

func pruneAll(f api.Filters) (bool, error) {
	switch values := f["all"]; len(values) {
	case 0:
		return false, nil
	case 1:
		all, err := strconv.ParseBool(values[0])
		if err != nil {
			return false, invalid("invalid filter 'all': %w", err)
		}
		return all, nil
	default:
		return false, invalid("invalid filter 'all=%s': only one value is expected", values)
	}
}

// labelled reports whether a volume has the labels asked for, and none of those that
// must not be there.
func labelled(f api.Filters, v *volume) bool {
	if !f.Labels("label", v.Labels) {
		return false
	}
	return !slices.ContainsFunc(f["label!"], func(l string) bool {
		return api.Filters{"label": {l}}.Labels("label", v.Labels)
	})
}
