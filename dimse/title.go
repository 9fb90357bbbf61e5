package dimse

// rejectCallingAE is for a peer without a name (PS3.8 9.3.4: calling AE title not
// recognised).
var rejectCallingAE = &Reject{1, 1, 3}

// isTitle reports whether s, without the spaces around it, is an AE title (PS3.5
// 6.2, AE): not empty, and of characters that a title can have. Others would go
// into logs and file meta information as they are.
func isTitle(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '\\' {
			return false
		}
	}
	return s != ""
}
