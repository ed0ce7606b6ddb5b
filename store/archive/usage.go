package archive

import (
	"lighter/linux/fs"
)

// Usage adds up the files and links beneath the folder at path, in bytes, a file with
// several names once, as Docker sizes layers.
func Usage(path string) (int64, error) {
	root, err := fs.OpenDir(path)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	total, seen := int64(0), map[uint64]bool{}
	err = walk(root, "", func(_ fs.Dir, _, _ string, st fs.Info) (bool, error) {
		if st.Mode&fs.ModeType == fs.ModeDir {
			return true, nil
		}
		if st.Nlink > 1 && st.Size > 0 {
			if seen[st.Ino] {
				return false, nil
			}
			seen[st.Ino] = true
		}
		total += st.Size
		return false, nil
	})
	return total, err
}
