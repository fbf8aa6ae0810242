SELECT date_trunc('month', issue_date) AS m, COUNT(*) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT date_trunc('day', issue_date) AS d, SUM(amount_usd) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT date_trunc('week', issue_date) AS d, COUNT(*) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT date_trunc('quarter', since) AS d, COUNT(*) FROM customers GROUP BY 1 ORDER BY 1;

SELECT EXTRACT(YEAR FROM issue_date) AS y, EXTRACT(MONTH FROM issue_date) AS m, COUNT(*) FROM invoices GROUP BY 1, 2 ORDER BY 1, 2;

SELECT EXTRACT(DOW FROM issue_date) AS d, COUNT(*) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT date_part('hour', issue_date) AS h, COUNT(*) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT date_part('quarter', since), date_part('doy', since), date_part('week', since) FROM customers ORDER BY customer_id;

SELECT COUNT(*) FROM invoices WHERE issue_date >= '2026-01-01' AND issue_date < '2026-02-01';

SELECT COUNT(*) FROM invoices WHERE issue_date BETWEEN TIMESTAMP '2025-12-24 00:00:00' AND TIMESTAMP '2025-12-26 23:59:59';

SELECT COUNT(*) FROM invoices WHERE issue_date > DATE '2026-01-01' - INTERVAL '10 days';

SELECT COUNT(*) FROM invoices WHERE issue_date_yearmonth = DATE '2026-01-01';

SELECT COUNT(*) FROM invoices WHERE CAST(issue_date AS DATE) = '2026-01-05';

SELECT since + INTERVAL '1 month' FROM customers ORDER BY customer_id;

SELECT since - INTERVAL '1 year' FROM customers ORDER BY customer_id;

SELECT DATE '2024-01-31' + INTERVAL '1 month', DATE '2024-02-29' - INTERVAL '1 year', TIMESTAMP '2024-12-31 23:00:00' + INTERVAL '90 minutes';

SELECT DATE '2026-03-01' - DATE '2026-02-01', DATE '2026-01-01' - since FROM customers ORDER BY customer_id;

SELECT MAX(since) - MIN(since) FROM customers;

SELECT CAST('2026-01-31' AS DATE), CAST('2026-01-31 10:30:00' AS TIMESTAMP), CAST(TIMESTAMP '2026-01-31 23:59:59' AS DATE);

SELECT to_char(issue_date, '%Y-%m') AS m, COUNT(*) FROM invoices GROUP BY 1 ORDER BY 1;
-- duckdb: SELECT strftime(issue_date, '%Y-%m') AS m, COUNT(*) FROM invoices GROUP BY 1 ORDER BY 1

SELECT make_date(2026, 2, 28), date_bin(INTERVAL '15 minutes', TIMESTAMP '2026-01-01 10:44:00');
-- duckdb: SELECT make_date(2026, 2, 28), time_bucket(INTERVAL '15 minutes', TIMESTAMP '2026-01-01 10:44:00')

SELECT since FROM customers WHERE since > '2020-06-01' ORDER BY since, customer_id;

SELECT COUNT(*) FROM customers WHERE since IN ('2011-03-12', DATE '2012-04-13');

SELECT UPPER(name), LOWER(name), LENGTH(name) FROM customers ORDER BY customer_id;

SELECT TRIM(name), LTRIM(name), RTRIM(name) FROM customers ORDER BY customer_id;

SELECT SUBSTR(name, 2, 3), LEFT(name, 2), RIGHT(name, 2) FROM customers ORDER BY customer_id;

SELECT SUBSTRING(name FROM 2 FOR 3) FROM customers ORDER BY customer_id;

SELECT REPLACE(name, 'e', '-'), REVERSE(name) FROM customers WHERE customer_id < 10 ORDER BY customer_id;

SELECT CONCAT(name, '/', country), name || '/' || country FROM customers ORDER BY customer_id;

SELECT CONCAT_WS('-', name, country, code) FROM customers ORDER BY customer_id;

SELECT COUNT(*) FROM customers WHERE name LIKE '%ö%';

SELECT COUNT(*) FROM customers WHERE name LIKE 'under\_%' ESCAPE '\';

SELECT COUNT(*) FROM customers WHERE name LIKE '%\%%' ESCAPE '\';

SELECT COUNT(*) FROM customers WHERE name ILIKE '%zed%' OR name NOT LIKE '%e%';

SELECT COUNT(*) FROM customers WHERE name LIKE '__o%' OR name LIKE '_''%';

SELECT COUNT(*) FROM customers WHERE regexp_like(name, '^[A-Z]');
-- duckdb: SELECT COUNT(*) FROM customers WHERE regexp_matches(name, '^[A-Z]')

SELECT COUNT(*) FROM customers WHERE name ~ 'S.*e$';
-- duckdb: SELECT COUNT(*) FROM customers WHERE regexp_matches(name, 'S.*e$')

SELECT regexp_replace(code, '^0+', '') FROM customers ORDER BY customer_id;

SELECT regexp_replace(name, '[aeiou]', '*', 'g') FROM customers ORDER BY customer_id;

SELECT regexp_extract('INV-42 and INV-43', 'INV-([0-9]+)', 1);

SELECT SPLIT_PART('a,b,c', ',', 2), SPLIT_PART('a,b,c', ',', 5);

SELECT LPAD(code, 5, 'x'), RPAD(code, 5, 'y'), REPEAT('ab', 2) FROM customers ORDER BY customer_id;

SELECT STRPOS(name, 'e'), POSITION('a' IN name) FROM customers ORDER BY customer_id;

SELECT ASCII('A'), CHR(66), STARTS_WITH('invoice', 'inv');

SELECT COALESCE(country, name, 'none'), NULLIF(country, 'DE') FROM customers ORDER BY customer_id;

SELECT name FROM customers WHERE name IS NULL;
-- duckdb: SELECT name FROM customers WHERE name IS NULL

SELECT COUNT(*) FROM customers WHERE name = '';

SELECT name FROM customers WHERE name IS NOT NULL ORDER BY name, customer_id;

SELECT name FROM customers ORDER BY name DESC NULLS LAST, customer_id LIMIT 5;

SELECT code FROM customers WHERE code < '100' ORDER BY code;

SELECT country FROM customers ORDER BY country NULLS FIRST, customer_id LIMIT 3 OFFSET 5;

SELECT customer_id FROM customers ORDER BY customer_id DESC OFFSET 25;

SELECT customer_id FROM customers ORDER BY 1 LIMIT 0;

SELECT MAX(name), MIN(name) FROM customers;

SELECT GREATEST(1, 3, 2), LEAST('b', 'a'), GREATEST(NULL, 5);

SELECT CHARACTER_LENGTH('東京'), OCTET_LENGTH('東京');
-- duckdb: SELECT LENGTH('東京'), 6

SELECT name, CASE country WHEN 'DE' THEN 1 WHEN 'FR' THEN 2 ELSE 0 END FROM customers ORDER BY customer_id;

SELECT 'it''s', 'a"b', 'back\slash', 'ü€😀';

SELECT TRANSLATE('abc', 'ab', 'xy'), INITCAP('hello');
-- duckdb: SELECT TRANSLATE('abc', 'ab', 'xy'), 'Hello'
