-- differs: Whole numbers divide to whole numbers, as in Postgres: 7 / 2 is 3. Write 7 / 2.0 for 3.5.
SELECT 7 / 2, -7 / 2;

-- differs: NULL is the largest value where an ORDER BY does not say it, as in Postgres: first in DESC.
SELECT country FROM customers ORDER BY country DESC, customer_id LIMIT 3;

-- differs: A quotient of decimals is a decimal with four digits more than the dividend, cut off and not rounded.
SELECT CAST(2.00 / 3 AS VARCHAR);

-- differs: An average of decimals is a decimal with four digits more than its values, cut off and not rounded.
SELECT CAST(AVG(x) AS VARCHAR) FROM (VALUES (1.0), (1.0), (0.0)) AS t(x);

-- differs: A CAST to a whole number cuts off what is after the point; ROUND it first where 2.5 must become 3.
SELECT CAST(2.5 AS BIGINT), CAST(-2.7 AS BIGINT);

-- differs: A backslash in a LIKE takes the sign behind it as it is, as in Postgres; in DuckDB it is a sign like others without ESCAPE.
SELECT name FROM customers WHERE name LIKE '%\_%';
