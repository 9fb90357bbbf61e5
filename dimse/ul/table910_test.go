package ul

// table910 is PS3.8 table 9-10 as printed: a row an event, a column a state.
const table910 = `
| event | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 |
| Evt1 | AE-1 |  |  |  |  |  |  |  |  |  |  |  |  |
| Evt2 |  |  |  | AE-2 |  |  |  |  |  |  |  |  |  |
| Evt3 |  | AA-1 | AA-8 |  | AE-3 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-6 |
| Evt4 |  | AA-1 | AA-8 |  | AE-4 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-6 |
| Evt5 | AE-5 |  |  |  |  |  |  |  |  |  |  |  |  |
| Evt6 |  | AE-6 | AA-8 |  | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-7 |
| Evt7 |  |  | AE-7 |  |  |  |  |  |  |  |  |  |  |
| Evt8 |  |  | AE-8 |  |  |  |  |  |  |  |  |  |  |
| Evt9 |  |  |  |  |  | DT-1 |  | AR-7 |  |  |  |  |  |
| Evt10 |  | AA-1 | AA-8 |  | AA-8 | DT-2 | AR-6 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-6 |
| Evt11 |  |  |  |  |  | AR-1 |  |  |  |  |  |  |  |
| Evt12 |  | AA-1 | AA-8 |  | AA-8 | AR-2 | AR-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-6 |
| Evt13 |  | AA-1 | AA-8 |  | AA-8 | AA-8 | AR-3 | AA-8 | AA-8 | AR-10 | AR-3 | AA-8 | AA-6 |
| Evt14 |  |  |  |  |  |  |  | AR-4 | AR-9 |  |  | AR-4 |  |
| Evt15 |  |  | AA-1 | AA-2 | AA-1 | AA-1 | AA-1 | AA-1 | AA-1 | AA-1 | AA-1 | AA-1 |  |
| Evt16 |  | AA-2 | AA-3 |  | AA-3 | AA-3 | AA-3 | AA-3 | AA-3 | AA-3 | AA-3 | AA-3 | AA-2 |
| Evt17 |  | AA-5 | AA-4 | AA-4 | AA-4 | AA-4 | AA-4 | AA-4 | AA-4 | AA-4 | AA-4 | AA-4 | AR-5 |
| Evt18 |  | AA-2 |  |  |  |  |  |  |  |  |  |  | AA-2 |
| Evt19 |  | AA-1 | AA-8 |  | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-8 | AA-7 |
`
