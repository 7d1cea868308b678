package sqlstore

import "strings"

// An array of floating-point numbers has words for what JSON has no number for.
var floatWords = map[string]string{`null`: "NULL", `"NaN"`: "NaN", `"Infinity"`: "Infinity", `"-Infinity"`: "-Infinity"}

// eachFloat calls f with each element of a JSON array of numbers and words, in the order
// of the text. mark is the bracket or comma after the element, which may be empty.
func eachFloat(array string, f func(element string, mark byte)) {
	for array != "" {
		end := strings.IndexAny(array, "[],")
		if end < 0 {
			return
		}
		f(strings.Trim(array[:end], " \t\r\n"), array[end])
		array = array[end+1:]
	}
}

// appendFloats appends an array with the shortest form of each number.
func appendFloats(dst []byte, array string, bits int) []byte {
	eachFloat(array, func(element string, mark byte) {
		if v, err := parseReal(element, bits); err == nil {
			dst = appendReal(dst, v, bits, false)
		} else {
			dst = append(dst, element...)
		}
		dst = append(dst, mark)
	})
	return dst
}

// floatArray returns the array literal of SQL for a JSON array. It refuses an array that
// would be read in another form.
func floatArray(c *column, array string) (any, error) {
	var b strings.Builder
	var err error
	var before byte
	depth := 0
	eachFloat(array, func(element string, mark byte) {
		switch word, is := floatWords[element]; {
		case is:
			b.WriteString(word)
		case element == "":
			if before == '{' && mark == ']' && depth > 1 {
				err = errChanged // the server would forget the dimension
			}
		case isNumber(element):
			if _, e := parseReal(element, c.pg.bits); e != nil {
				err = e
			}
			b.WriteString(element)
		default:
			err = cannot("an array of other elements than numbers", c)
		}
		switch mark {
		case '[':
			depth++
			mark = '{'
		case ']':
			depth--
			mark = '}'
		}
		b.WriteByte(mark)
		before = mark
	})
	if err != nil {
		return nil, err
	}
	return b.String(), nil
}
