-- The steps of linker.families and linker.tables.spending by hand, for DuckDB. $day, $municipality, $from, $to are set by
-- bench/families.py; persons, postings, spells and catalogue are views over the Delta tables' files.

CREATE TEMP TABLE valid AS
SELECT person_id, mother_id, father_id, spouse_id, address_id, age_anchor, sex, civil_status, status, municipality,
       district, valid_from, valid_to
FROM persons
WHERE valid_from <= $day AND (valid_to IS NULL OR valid_to > $day) AND status NOT IN (30, 50, 60);

CREATE TEMP TABLE several AS SELECT person_id FROM valid GROUP BY person_id HAVING count(*) > 1;

CREATE TEMP TABLE people AS
WITH chosen AS (
    SELECT * FROM valid ANTI JOIN several USING (person_id)
    UNION ALL
    SELECT * FROM valid SEMI JOIN several USING (person_id)
    QUALIFY row_number() OVER (
        PARTITION BY person_id
        ORDER BY valid_from DESC, valid_to DESC NULLS FIRST, status DESC, municipality NULLS LAST, address_id NULLS LAST,
                 mother_id NULLS LAST, father_id NULLS LAST, spouse_id NULLS LAST, civil_status, sex, age_anchor,
                 district NULLS LAST
    ) = 1
)
SELECT person_id, mother_id, father_id, spouse_id, address_id, sex, civil_status, district,
       (year($day) * 12 + month($day) - year(age_anchor) * 12 - month(age_anchor))::INTEGER AS months,
       (months // 12)::SMALLINT AS age
FROM chosen
WHERE status IN (1, 3) AND municipality = $municipality;

CREATE TEMP TABLE edges AS
WITH reference AS (
    SELECT person_id, mother_id AS parent_id, true AS is_mother, age, address_id FROM people WHERE mother_id IS NOT NULL
    UNION ALL
    SELECT person_id, father_id, false, age, address_id FROM people WHERE father_id IS NOT NULL
)
SELECT r.*
FROM reference r JOIN people p ON p.person_id = r.parent_id AND p.address_id = r.address_id
WHERE r.parent_id <> r.person_id;

CREATE TEMP TABLE wed AS
SELECT a.person_id, least(a.person_id, a.spouse_id) AS head,
       (CASE a.civil_status WHEN 'G' THEN 11 ELSE 21 END)::SMALLINT AS couple_type
FROM people a JOIN people b ON b.person_id = a.spouse_id
WHERE a.civil_status IN ('G', 'P') AND b.civil_status = a.civil_status AND b.spouse_id = a.person_id
  AND b.address_id = a.address_id AND a.person_id <> a.spouse_id;

CREATE TEMP TABLE single AS
SELECT * FROM people ANTI JOIN wed USING (person_id) WHERE address_id IS NOT NULL;

CREATE TEMP TABLE common AS
SELECT DISTINCT least(r.mother_id, r.father_id) AS first, greatest(r.mother_id, r.father_id) AS second
FROM persons r JOIN single m ON m.person_id = r.mother_id JOIN single f ON f.person_id = r.father_id
WHERE r.mother_id <> r.father_id AND m.address_id = f.address_id;

CREATE TEMP TABLE samlevende AS
WITH each AS (SELECT first AS person_id FROM common UNION ALL SELECT second FROM common),
     busy AS (SELECT person_id FROM each GROUP BY person_id HAVING count(*) > 1)
SELECT * FROM common
WHERE first NOT IN (SELECT person_id FROM busy) AND second NOT IN (SELECT person_id FROM busy);

CREATE TEMP TABLE grown AS SELECT person_id, parent_id, address_id FROM edges WHERE age >= 18;

CREATE TEMP TABLE pairs AS
WITH at_home AS (SELECT address_id, count(DISTINCT person_id) AS grown FROM grown GROUP BY address_id),
     addresses AS (
         SELECT address_id, adults
         FROM (
             SELECT address_id, count(*) FILTER (age >= 18) AS adults
             FROM people WHERE age >= 16 AND address_id IS NOT NULL GROUP BY address_id
         ) LEFT JOIN at_home USING (address_id)
         WHERE adults <= coalesce(grown, 0) + 2
     ),
     own AS (SELECT parent_id AS person_id, count(*) AS own FROM grown GROUP BY parent_id),
     candidate AS (
         SELECT s.*, a.adults, coalesce(o.own, 0) AS own, (s.age >= 18)::INTEGER AS adult
         FROM single s JOIN addresses a USING (address_id) LEFT JOIN own o USING (person_id)
         WHERE s.age >= 16
           AND s.person_id NOT IN (SELECT first FROM samlevende UNION ALL SELECT second FROM samlevende)
     )
SELECT least(w.person_id, m.person_id) AS first, greatest(w.person_id, m.person_id) AS second
FROM candidate w JOIN candidate m ON m.address_id = w.address_id AND w.sex = 'f' AND m.sex = 'm'
WHERE abs(w.months - m.months) < 180
  AND coalesce(w.mother_id <> m.person_id, true) AND coalesce(m.mother_id <> w.person_id, true)
  AND coalesce(w.mother_id <> m.mother_id, true)
  AND coalesce(w.father_id <> m.person_id, true) AND coalesce(m.father_id <> w.person_id, true)
  AND coalesce(w.father_id <> m.father_id, true)
  AND coalesce(w.mother_id <> m.father_id, true) AND coalesce(w.father_id <> m.mother_id, true)
  AND w.adults = w.adult + m.adult + w.own + m.own;

CREATE TEMP TABLE samboende AS
WITH free AS (SELECT * FROM pairs ANTI JOIN common USING (first, second)),
     each AS (SELECT first AS person_id FROM free UNION ALL SELECT second FROM free),
     busy AS (SELECT person_id FROM each GROUP BY person_id HAVING count(*) > 1)
SELECT * FROM free
WHERE first NOT IN (SELECT person_id FROM busy) AND second NOT IN (SELECT person_id FROM busy);

CREATE TEMP TABLE couples AS
SELECT * FROM wed
UNION ALL SELECT unnest([first, second]), first, 31::SMALLINT FROM samlevende
UNION ALL SELECT unnest([first, second]), first, 41::SMALLINT FROM samboende;

CREATE TEMP TABLE eligible AS
SELECT p.person_id, p.age, p.address_id, p.mother_id, p.father_id
FROM people p ANTI JOIN couples USING (person_id)
WHERE p.age < 18 AND p.civil_status = 'U' AND p.person_id NOT IN (SELECT parent_id FROM edges);

CREATE TEMP TABLE homes AS
SELECT person_id, coalesce(max(parent_id) FILTER (is_mother), max(parent_id)) AS parent_id
FROM edges SEMI JOIN eligible USING (person_id)
GROUP BY person_id;

CREATE TEMP TABLE children AS
WITH orphan AS (SELECT * FROM eligible ANTI JOIN homes USING (person_id)),
     step AS (
         SELECT o.person_id, s.person_id AS step_id, s.spouse_id = o.mother_id AS by_mother
         FROM orphan o
         JOIN people s ON s.spouse_id = o.mother_id AND s.address_id = o.address_id
         WHERE s.civil_status <> 'U' AND s.person_id <> o.person_id
         UNION ALL
         SELECT o.person_id, s.person_id, false
         FROM orphan o
         JOIN people s ON s.spouse_id = o.father_id AND s.address_id = o.address_id
         WHERE s.civil_status <> 'U' AND s.person_id <> o.person_id
     )
SELECT * FROM homes
UNION ALL
SELECT person_id, coalesce(min(step_id) FILTER (by_mother), min(step_id)) FROM step GROUP BY person_id;

CREATE TEMP TABLE heads AS
WITH adults AS (
    SELECT p.person_id, coalesce(c.head, p.person_id) AS head, coalesce(c.couple_type, 1) AS couple_type
    FROM people p ANTI JOIN children USING (person_id) LEFT JOIN couples c USING (person_id)
)
SELECT person_id, head, couple_type, false AS child FROM adults
UNION ALL
SELECT c.person_id, a.head, a.couple_type, true FROM children c JOIN adults a ON a.person_id = c.parent_id;

CREATE TEMP TABLE members AS
WITH family AS (
    SELECT head, min(person_id) AS family_id, any_value(couple_type) + max(child::INTEGER) AS family_type
    FROM heads GROUP BY head
),
household AS (
    SELECT address_id, min(person_id) AS household_id FROM people WHERE address_id IS NOT NULL GROUP BY address_id
),
stray AS (SELECT person_id, true AS stray FROM eligible ANTI JOIN children USING (person_id))
SELECT p.person_id, coalesce(h.household_id, p.person_id) AS household_id, f.family_id,
       CASE WHEN k.child OR s.stray THEN 'child' ELSE 'adult' END AS role,
       (CASE WHEN s.stray THEN 53 ELSE f.family_type END)::SMALLINT AS family_type,
       p.age, p.civil_status, p.district
FROM people p
JOIN heads k USING (person_id) JOIN family f ON f.head = k.head
LEFT JOIN household h ON h.address_id = p.address_id
LEFT JOIN stray s ON s.person_id = p.person_id;

CREATE TEMP TABLE families AS
SELECT family_id, any_value(family_type) AS family_type, count(*) AS n_persons,
       count(*) FILTER (role = 'adult') AS n_adults, count(*) FILTER (role = 'child') AS n_children,
       n_adults = 1 AND count(*) FILTER (role = 'adult' AND civil_status NOT IN ('G', 'P')) = 1 AS single_provider,
       min(district) AS district
FROM members WHERE family_type % 2 = 0 GROUP BY family_id;

CREATE TEMP TABLE spending AS
WITH service AS (SELECT DISTINCT service, department, type, area, cost_basis FROM catalogue),
     relative AS (SELECT person_id, family_id FROM members SEMI JOIN families USING (family_id)),
     amounts AS (
         SELECT r.family_id, s.department,
                CASE WHEN p.cost_component = 'administration' THEN 'administration' ELSE s.type END AS type,
                CASE WHEN p.cost_component = 'administration' THEN NULL ELSE s.area END AS area, p.amount_ore
         FROM postings p JOIN relative r USING (person_id) JOIN service s USING (service)
         WHERE s.cost_basis = 'posting' AND p.dranst IN (1, 2) AND p.event_month >= $from AND p.event_month < $to
         UNION ALL
         SELECT r.family_id, s.department, s.type, s.area,
                (p.price_per_week_ore * (least(coalesce(p."end", $to), $to) - greatest(p.start, $from)) * 2 + 7) // 14
         FROM spells p JOIN relative r USING (person_id) JOIN service s USING (service)
         WHERE s.cost_basis = 'spell' AND p.price_per_week_ore IS NOT NULL AND p.start < $to
           AND (p."end" IS NULL OR (p."end" > $from AND p."end" > p.start))
     )
SELECT family_id, department, type, area, sum(amount_ore)::BIGINT AS amount_ore
FROM amounts GROUP BY ALL HAVING sum(amount_ore) <> 0;
