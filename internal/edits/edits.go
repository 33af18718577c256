// Package edits tells how far apart two words are, so that a program can ask a person who mistyped one which was meant.
package edits

// Between is how many letters must be put in, left out or replaced to make b of a (Levenshtein's distance, of bytes).
func Between(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
