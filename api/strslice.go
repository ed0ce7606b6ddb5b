package api

import "encoding/json"

// StrSlice is a list of strings that may come as one bare string.
type StrSlice []string

// UnmarshalJSON takes a list, a string, or null.
func (s *StrSlice) UnmarshalJSON(b []byte) error {
	var list []string
	if err := json.Unmarshal(b, &list); err == nil {
		*s = list
		return nil
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*s = StrSlice{one}
	return nil
}
