package image

import "lighter/oci"

// Best chooses the manifest for a platform: the closest of those that run there, nil
// for none. What is said about other manifests (attestations) is no image.
func Best(wanted oci.Platform, list []oci.Descriptor) *oci.Descriptor {
	var best *oci.Descriptor
	least := 0
	for n := range list {
		d := &list[n]
		if d.Annotations["vnd.docker.reference.type"] != "" {
			continue
		}
		rank := 1000
		if d.Platform != nil {
			var ok bool
			if rank, ok = wanted.Rank(*d.Platform); !ok {
				continue
			}
		}
		if best == nil || rank < least {
			best, least = d, rank
		}
	}
	return best
}
