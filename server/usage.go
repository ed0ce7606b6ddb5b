package server

import (
	"net/http"
	"slices"

	"lighter/api"
	"lighter/engine/container"
	"lighter/engine/image"
	"lighter/oci"
)

// diskUsage tells what there is and how large it is. Images and their layers are looked up;
// only what containers and volumes hold of their own is measured.
func (sys *system) diskUsage(w http.ResponseWriter, r *request) error {
	all := map[string]func(*request, *api.DiskUsage) error{
		"container": sys.containerUsage, "image": sys.imageUsage, "volume": sys.volumeUsage, "build-cache": sys.buildUsage,
	}
	types, asked := r.query["type"]
	if r.older("1.42") || !asked {
		types = []string{"container", "image", "volume", "build-cache"}
	}
	var du api.DiskUsage
	for _, name := range types {
		measure := all[name]
		if measure == nil {
			return api.Errorf(api.Invalid, "unknown object type: %s", name)
		}
		if err := measure(r, &du); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, du)
}

func (sys *system) containerUsage(r *request, du *api.DiskUsage) error {
	list, err := sys.s.config.Containers.List(r.Context(), container.ListOptions{All: true, Size: true, Filters: r.grant.own(api.Filters{})})
	if err != nil {
		return err
	}
	du.Containers = append([]api.ContainerSummary{}, list...)
	for i := range du.Containers {
		du.Containers[i].ImageManifestDescriptor = nil
		if r.older("1.46") {
			du.Containers[i].HostConfig.Annotations = nil
		}
	}
	return nil
}

func (sys *system) imageUsage(r *request, du *api.DiskUsage) error {
	list, err := sys.s.config.Images.List(r.Context(), image.ListOptions{SharedSize: true})
	if err != nil {
		return err
	}
	for i := range list {
		users := list[i].Containers
		shapeSummary(r, &list[i])
		list[i].Containers = users
		list[i].Size += image.BlobsSize(sys.s.config.Images, oci.Digest(list[i].ID)) // what it takes, and gives back
	}
	du.Images = list
	du.LayersSize, err = image.LayersSize(sys.s.config.Images)
	return err
}

func (sys *system) volumeUsage(r *request, du *api.DiskUsage) (err error) {
	du.Volumes, err = sys.s.config.Volumes.Usage(r.Context())
	du.Volumes = slices.DeleteFunc(du.Volumes, func(v *api.Volume) bool { return !r.grant.owns(v.Labels) })
	if du.Volumes == nil {
		du.Volumes = []*api.Volume{}
	}
	return err
}
