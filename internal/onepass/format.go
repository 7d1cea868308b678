package onepass

// quick holds, by format, functions that accept the usual forms of it. What they do not
// accept may still be valid.
var quick = map[string]func(text []byte) bool{
	"date":      isUsualDate,
	"date-time": isUsualTime,
	"email":     isUsualEmail,
	"hostname":  isUsualHostname,
	"ipv4":      isUsualIPv4,
	"uuid":      isUsualUUID,
}

// pair returns the number in the first two bytes of text, or -1 if they are not digits.
func pair(text []byte) int {
	high, low := text[0]-'0', text[1]-'0'
	if high > 9 || low > 9 {
		return -1
	}
	return int(high)*10 + int(low)
}

var daysOfMonth = [...]int{1: 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// isUsualDate accepts dates such as 2024-02-29.
func isUsualDate(t []byte) bool {
	if len(t) != len("2006-01-02") || t[4] != '-' || t[7] != '-' {
		return false
	}
	century, year, month, day := pair(t), pair(t[2:]), pair(t[5:]), pair(t[8:])
	if century < 0 || year < 0 || month < 1 || month > 12 || day < 1 {
		return false
	}
	isLeap := year%4 == 0 && (year != 0 || century%4 == 0)
	return day <= daysOfMonth[month] || isLeap && month == 2 && day == 29
}

// isUsualTime accepts times such as 2024-02-29T10:30:00.5Z and 2024-02-29T10:30:00+01:00,
// but no leap second.
func isUsualTime(t []byte) bool {
	if len(t) < len("2006-01-02T15:04:05Z") || t[10] != 'T' || !isUsualDate(t[:10]) || t[16] != ':' || !isClock(t[11:16]) {
		return false
	}
	if second := pair(t[17:]); second < 0 || second > 59 {
		return false
	}
	t = t[19:]
	if t[0] == '.' {
		n := 1
		for n < len(t) && isDigit(t[n]) {
			n++
		}
		if t = t[n:]; n == 1 || len(t) == 0 {
			return false
		}
	}
	return string(t) == "Z" || len(t) == len("+01:00") && (t[0] == '+' || t[0] == '-') && isClock(t[1:])
}

// isClock accepts 15:04.
func isClock(t []byte) bool {
	hour, minute := pair(t), pair(t[3:])
	return t[2] == ':' && 0 <= hour && hour <= 23 && 0 <= minute && minute <= 59
}

func isAlphanumeric(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// isUsualHostname accepts names of labels that neither begin nor end with a hyphen.
func isUsualHostname(t []byte) bool {
	if len(t) == 0 || len(t) > 253 {
		return false
	}
	label := 0 // its length so far
	for i, c := range t {
		switch {
		case isAlphanumeric(c):
			label++
		case c == '-' && label > 0 && i+1 < len(t) && t[i+1] != '.':
			label++
		case c == '.' && label > 0 && i+1 < len(t):
			label = 0
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return true
}

// isUsualEmail accepts addresses whose local part is of letters, digits and a few other
// characters.
func isUsualEmail(t []byte) bool {
	if len(t) > 254 {
		return false
	}
	for i, c := range t {
		switch {
		case isAlphanumeric(c), c == '_', c == '-', c == '+':
		case c == '.' && i > 0 && t[i-1] != '.' && i+1 < len(t) && t[i+1] != '@':
		case c == '@':
			return 0 < i && i <= 64 && isUsualHostname(t[i+1:])
		default:
			return false
		}
	}
	return false
}

func isUsualIPv4(t []byte) bool {
	for group := range 4 {
		n, number := 0, 0
		for n < len(t) && n < 3 && isDigit(t[n]) {
			number = number*10 + int(t[n]-'0')
			n++
		}
		if n == 0 || n > 1 && t[0] == '0' || number > 255 {
			return false
		}
		if t = t[n:]; group < 3 {
			if len(t) == 0 || t[0] != '.' {
				return false
			}
			t = t[1:]
		}
	}
	return len(t) == 0
}

func isUsualUUID(t []byte) bool {
	if len(t) != len("00000000-0000-0000-0000-000000000000") {
		return false
	}
	for i, c := range t {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return false
			}
		}
	}
	return true
}
