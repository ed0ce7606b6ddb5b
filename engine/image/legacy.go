package image

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"lighter/api"
	"lighter/oci"
)

// legacy loads an archive of before Docker 1.10: a folder a layer, each with a json of
// its own that names its parent, and a file repositories.
func (l *loading) legacy() error {
	data, err := l.file(repositoriesFile)
	if err != nil {
		return err
	}
	var repositories map[string]map[string]string // by repository, by tag: the folder
	if err := json.Unmarshal(data, &repositories); err != nil {
		return fmt.Errorf("%s: %w", repositoriesFile, err)
	}
	l.old = true
	names, err := legacyNames(repositories)
	if err != nil {
		return err
	}
	made, folders := map[string]*Image{}, l.folders()
	for id := range names {
		if !slices.Contains(folders, id) {
			return fmt.Errorf("invalid target ID: %v", id)
		}
	}
	for _, id := range folders {
		if _, err := l.legacyImage(id, names, made, map[string]bool{}); err != nil {
			return err
		}
	}
	return nil
}

// legacyNames gives the names of each folder, sorted.
func legacyNames(repositories map[string]map[string]string) (map[string][]string, error) {
	names := map[string][]string{}
	for _, repo := range slices.Sorted(maps.Keys(repositories)) {
		for _, tag := range slices.Sorted(maps.Keys(repositories[repo])) {
			ref, err := oci.ParseReference(repo)
			if err == nil {
				ref, err = ref.WithTag(tag)
			}
			if err != nil {
				return nil, err
			}
			id := repositories[repo][tag]
			names[id] = append(names[id], ref.String())
		}
	}
	return names, nil
}

// folders gives the archive's folders that hold a json, sorted.
func (l *loading) folders() []string {
	var list []string
	for name := range l.files {
		if dir, file := path.Split(name); file == "json" && strings.Count(dir, "/") == 1 {
			list = append(list, strings.TrimSuffix(dir, "/"))
		}
	}
	slices.Sort(list)
	return list
}

// legacyImage makes an image of a folder, after the images that it stands on.
func (l *loading) legacyImage(id string, names map[string][]string, made map[string]*Image, under map[string]bool) (*Image, error) {
	if made[id] != nil {
		return made[id], nil
	}
	if under[id] || len(under) > oci.MaxLayers {
		return nil, fmt.Errorf("image %s in the archive is its own parent", id)
	}
	under[id] = true
	raw, err := l.file(id + "/json")
	if err != nil {
		return nil, err
	}
	var old struct {
		oci.Image
		Parent string `json:"parent"`
	}
	if err := json.Unmarshal(raw, &old); err != nil {
		return nil, fmt.Errorf("%s/json: %w", id, err)
	}
	if os := old.Platform().OS; os != "linux" {
		return nil, fmt.Errorf("cannot load %s image on %s", os, runtime.GOOS)
	}
	rootfs, history := oci.RootFS{Type: "layers"}, []oci.History(nil)
	var parent *Image
	if old.Parent != "" {
		if parent, err = l.legacyImage(old.Parent, names, made, under); err != nil {
			return nil, err
		}
		rootfs.DiffIDs = slices.Clone(parent.Doc.DiffIDs())
		history = slices.Clone(parent.Doc.History)
	}
	p, err := l.part(id + "/layer.tar")
	if err != nil {
		return nil, err
	}
	st, err := l.staged(p)
	if err != nil {
		return nil, fmt.Errorf("layer %s/layer.tar: %w", id, err)
	}
	rootfs.DiffIDs = append(rootfs.DiffIDs, oci.Digest(st.DiffID))
	var command api.ContainerConfig
	if len(old.ContainerConfig) > 0 {
		if err := json.Unmarshal(old.ContainerConfig, &command); err != nil {
			return nil, fmt.Errorf("%s/json: %w", id, err)
		}
	}
	history = append(history, oci.History{
		Created: old.Created, Author: old.Author, Comment: old.Comment, CreatedBy: strings.Join(command.Cmd, " "),
	})
	document, err := legacyDocument(raw, rootfs, history)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(rootfs.DiffIDs)) // those below are there
	paths[len(paths)-1] = p.path
	img, err := l.image(document, paths, names[id])
	if err != nil {
		return nil, err
	}
	if parent != nil && img.Parent == "" {
		if err := l.i.setParent(img.ID, parent.ID); err != nil {
			return nil, err
		}
	}
	made[id] = img
	return img, nil
}

// legacyDocument makes a document of an old one: all of it but what the layers say now.
func legacyDocument(raw []byte, rootfs oci.RootFS, history []oci.History) ([]byte, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, err
	}
	for _, key := range []string{"id", "parent", "Size", "parent_id", "layer_id", "throwaway"} {
		delete(keys, key)
	}
	var err error
	if keys["rootfs"], err = json.Marshal(rootfs); err != nil {
		return nil, err
	}
	if keys["history"], err = json.Marshal(history); err != nil {
		return nil, err
	}
	return json.Marshal(keys)
}
