SELECT business_id, rating.grade, rating.score FROM ratings ORDER BY 1;

SELECT r.rating.grade FROM ratings r WHERE r.rating.score > 1 ORDER BY r.business_id;

SELECT business_id FROM ratings WHERE rating IS NULL;

SELECT business_id FROM ratings WHERE rating.grade IS NULL ORDER BY 1;

SELECT business_id, tags[1] FROM ratings ORDER BY 1;

SELECT business_id, array_length(tags) FROM ratings WHERE array_length(tags) > 1 ORDER BY 1;
-- duckdb: SELECT business_id, len(tags) FROM ratings WHERE len(tags) > 1 ORDER BY 1

SELECT business_id, unnest(tags) AS tag FROM ratings ORDER BY 1, 2;

SELECT tag, COUNT(*) FROM (SELECT unnest(tags) AS tag FROM ratings) t GROUP BY tag ORDER BY 1;

SELECT COUNT(*) FROM ratings WHERE array_has(tags, 'y');
-- duckdb: SELECT COUNT(*) FROM ratings WHERE list_contains(tags, 'y')

SELECT array_to_string(tags, '+') FROM ratings ORDER BY business_id;

SELECT business_id, tags FROM ratings ORDER BY 1;

SELECT business_id, rating FROM ratings WHERE rating IS NOT NULL ORDER BY 1;

SELECT rating.grade AS g, MAX(rating.score) FROM ratings GROUP BY rating.grade HAVING MAX(rating.score) > 1 ORDER BY 1 NULLS LAST;

SELECT [1, 2, 3], [1, 2, 3][2];

SELECT rating['grade'] FROM ratings ORDER BY business_id;

SELECT n FROM unnest([3, 1, 2]) AS t(n) ORDER BY n;

SELECT SUM(value) FROM generate_series(1, 10);
-- duckdb: SELECT SUM(generate_series) FROM generate_series(1, 10)

SELECT * EXCLUDE (tags, rating) FROM ratings ORDER BY 1;

SELECT COUNT(*) FROM (SELECT i.*, c.country FROM invoices i JOIN customers c ON c.customer_id = i.issuer_id) t WHERE country = 'DE';
