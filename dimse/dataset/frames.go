package dataset

// FunctionalGroup finds the item of a functional group macro for a frame, counted
// from 0, of an enhanced image: in the frame's own groups, else in those shared by
// all (PS3.3 C.7.6.16). In an image without functional groups there is none.
func (d *Dataset) FunctionalGroup(frame int, sequence Tag) *Dataset {
	if own := d.Items(PerFrameFunctionalGroupsSequence); frame >= 0 && frame < len(own) {
		if items := own[frame].Items(sequence); len(items) > 0 {
			return items[0]
		}
	}
	if shared := d.Items(SharedFunctionalGroupsSequence); len(shared) > 0 {
		if items := shared[0].Items(sequence); len(items) > 0 {
			return items[0]
		}
	}
	return nil
}
